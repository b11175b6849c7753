"""Readers of data set formats; open.py chooses the reader for a data set."""
