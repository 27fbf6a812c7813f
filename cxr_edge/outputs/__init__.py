"""Outputs of results: overlays, tables, HTML reports and DICOM objects."""
