"""Measure how fast models run here, and how much of the possible gain of skipping experts is realised."""
