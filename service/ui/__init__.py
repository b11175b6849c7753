"""The web page served at /: choose an image, see what is in it and which experts ran."""
