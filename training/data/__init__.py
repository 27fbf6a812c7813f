"""Data sets: their tables and images, caches of prepared images, and splits."""
