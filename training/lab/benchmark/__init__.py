"""Measure how fast models run on this machine, and how much time skipping experts saves of what it could."""
