"""Make DICOM files whose header contradicts their pixels, and judge how they are read."""
