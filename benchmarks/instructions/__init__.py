"""What the hot path takes, counted and not timed: instructions, allocations, calls and nodes against a baseline."""
