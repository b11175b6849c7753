"""Translate between HTTP and the service; how images are decoded and predicted is not decided here."""
