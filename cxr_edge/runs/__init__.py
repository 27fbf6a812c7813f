"""Runs over many images, and the directory that a run fills."""
