"""Measure how well the gateway finds images of a new domain: `python -m tests.novel`."""
