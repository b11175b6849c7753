"""The web page served at /: choose an image, see boxes and experts."""
