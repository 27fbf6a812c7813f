"""Runs over many films, and the directory that a run fills."""
