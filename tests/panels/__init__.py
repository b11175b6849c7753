"""Draws the dashboards from what a real Prometheus answers: `python -m tests.panels`."""
