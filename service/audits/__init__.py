"""Audit the backends: run a share of the images again on a reference, and quarantine who disagrees."""
