"""What is decided from scores: calibration, thresholds, early exits, unlikely images."""
