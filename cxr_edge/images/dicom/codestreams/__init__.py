"""Compressed pixels: what a codestream states, where it ends, whether it is whole, and its decoder."""
