"""Notify observers about every image, for any protocol; the only observer updates the metrics."""
