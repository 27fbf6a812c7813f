"""Read a DICOM header within limits: its attributes, and what they state of subject, layout and pixels."""
