"""Measure how fast models run on this machine, and how much of the possible gain skipping experts gives."""
