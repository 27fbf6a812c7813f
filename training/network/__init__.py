"""The network: its layers, initial weights and devices, and what it predicts."""
