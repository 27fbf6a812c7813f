"""The cost of the hot path, counted and not timed: instructions, allocations, calls and nodes against a baseline."""
