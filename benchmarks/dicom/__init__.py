"""DICOM: what each transfer syntax costs, and what hostile files do."""
