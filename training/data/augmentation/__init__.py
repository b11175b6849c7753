"""Random changes of training images, which move the labels along."""
