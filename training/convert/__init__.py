"""Detectors trained elsewhere, brought into our checkpoint: files are read as data, nothing in them runs."""
