"""Results as they are written: overlays, tables, HTML reports and DICOM objects."""
