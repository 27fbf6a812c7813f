"""Fitting a network to films, by a recipe."""
