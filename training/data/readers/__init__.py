"""Readers of data set formats, one file or a few per format; open.py chooses among them."""
