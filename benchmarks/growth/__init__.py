"""What grows with what: time and memory by images, image size, cores and batch."""
