"""The model: its bundle, what its network answers, and what is decided from that."""
