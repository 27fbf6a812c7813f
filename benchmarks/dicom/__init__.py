"""Measure the time of each transfer syntax of DICOM, and the effect of hostile files."""
