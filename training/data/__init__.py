"""Labelled images: this package reads or generates them, augments them, and loads batches of them."""
