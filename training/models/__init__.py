"""Detectors composed from layers; one configuration, one network."""
