"""Training of the 15-label classifier with Keras: data, network, fit, thresholds, evaluation."""
