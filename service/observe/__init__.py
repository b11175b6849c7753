"""Notify observers about every answered or refused image; the only observer updates the metrics."""
