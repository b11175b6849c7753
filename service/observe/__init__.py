"""Observe every image, independent of the protocol; today only the metrics do."""
