"""DICOM: radiographs as scanners and archives give them. Needs the extra ``dicom``."""
