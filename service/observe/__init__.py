"""Notify observers about every answered or refused image; at present, one observer updates the metrics."""
