"""Serve the web page at /, where a user chooses an image and sees its predictions and experts."""
