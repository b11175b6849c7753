"""Labelled images: readers, generated scenes, augmentation, loading."""
