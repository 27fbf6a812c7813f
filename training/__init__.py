"""Training of the classifier with Keras: data, network, fit, thresholds, evaluation."""
