"""The store-and-forward node: images in by DICOM or from a folder, results out to archives. Needs the extra ``node``.

An image is answered for once it is on disk and in the queue, both flushed. From there each step may be
interrupted at any moment and is repeated at the next start: results are written once and sent from disk,
under UIDs that a repetition gives again, so that an archive holds each exactly once.

::

    receive.py, watch.py → intake.py → spool.py + queue.py → work.py → deliver.py → destinations/
"""
