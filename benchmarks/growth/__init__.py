"""Growth of time and memory with the number of images, their size, cores and batch."""
