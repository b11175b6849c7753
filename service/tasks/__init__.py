"""Interpret a model's outputs; one file per task reads, describes and compares the results."""
