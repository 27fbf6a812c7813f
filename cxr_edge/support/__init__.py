"""What the other rooms stand on: files, text, threads, caches, warnings. Knows no task."""
