"""Models made elsewhere, as bundles: ``python -m export import``."""
