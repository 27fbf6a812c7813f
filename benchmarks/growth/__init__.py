"""What grows with what: time and memory by films, image size, cores and batch."""
