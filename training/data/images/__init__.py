"""Image files as pixels, and how an image becomes the model input."""
