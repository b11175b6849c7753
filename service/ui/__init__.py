"""The web page served at /: choose a picture, see boxes and experts."""
