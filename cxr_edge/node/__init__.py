"""The store-and-forward node: films in by DICOM or from a folder, results out to archives. Needs the extra ``node``.

A film is answered for once it is on disk and in the queue, both flushed. From there each step may be
interrupted at any moment and is repeated at the next start: results are written once and sent from disk,
under UIDs that a repetition gives again, so that an archive holds each exactly once.

::

    receive.py, watch.py → admit.py → spool.py + queue.py → work.py → deliver.py → destinations/
"""
