"""Explain a router's decision: hide regions of the image, and see how the router's probabilities change."""
