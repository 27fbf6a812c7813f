"""The model: its bundle, the outputs of its network, and the decisions made from them."""
