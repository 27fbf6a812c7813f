"""Data sets: their tables and films, caches of prepared films, and splits."""
