"""Audit backends: run a share of the images again on a reference, and quarantine a backend that disagrees."""
