"""Converts detectors trained elsewhere to our checkpoints; files are read as data; no code in them runs."""
