"""Serve models over HTTP: the service takes an image, and answers predictions and the experts that ran."""

__version__ = "0.1.0"
