"""Run a model's graph with one of several backends; each backend has one file or folder."""
