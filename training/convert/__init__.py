"""Converts networks trained elsewhere to our checkpoints. Files are read as data: no code in them runs."""
