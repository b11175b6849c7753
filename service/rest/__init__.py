"""Translate HTTP requests into calls of the service, and results and errors into HTTP answers."""
