"""Draws the samples that a training run sees."""
