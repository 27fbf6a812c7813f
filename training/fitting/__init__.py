"""Fitting a network to images, by a recipe."""
