"""Helpers for all other packages: files, text, threads, caches, warnings. Independent of any task."""
