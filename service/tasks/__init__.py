"""Interpret a model's outputs by its task; one file per task reads, describes and compares the results."""
