"""Families of models, one file each: a configuration for every size, and how it is trained."""
