"""What is decided from scores: calibration, thresholds, early exits, out-of-distribution images."""
