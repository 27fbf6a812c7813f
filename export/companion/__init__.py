"""Companion graphs: from a network's features to the class activation maps of all its labels, for any head."""
