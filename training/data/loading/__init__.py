"""Batches of training images, made in worker processes."""
