"""Evaluation of a bundle, through the SDK that runs it: what is measured is what users get."""
