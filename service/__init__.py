"""Serve models over HTTP: the service takes an image, and returns predictions and the experts that ran."""

__version__ = "0.1.0"
