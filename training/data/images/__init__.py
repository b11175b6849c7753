"""Decodes image files, and turns images into model inputs."""
