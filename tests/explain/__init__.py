"""Measures whether a heat map names the regions that moved a router: `python -m tests.explain`."""
