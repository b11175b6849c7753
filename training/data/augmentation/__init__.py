"""Random changes of training images and, to match, of their labels."""
