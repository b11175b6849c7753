"""The gateway: image bytes in, detections and expert activations out."""

__version__ = "0.1.0"
