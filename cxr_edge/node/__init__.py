"""The store-and-forward node: images in by DICOM or from a folder, results out to destinations. Extra ``node``.

The node acknowledges an image once it is on disk and in the queue, both flushed. From there each step may be
interrupted at any moment; the next start repeats it. Results are written once and sent from disk. A repetition
gives them the same UIDs, so that an archive holds each exactly once.

::

    receive.py, watch.py → intake.py → spool.py + queue.py → work.py → deliver.py → destinations/
"""
