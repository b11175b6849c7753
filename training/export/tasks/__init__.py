"""The exporter's part of each task."""
