"""Read DICOM radiographs from scanners and archives. Needs the extra ``dicom``."""
