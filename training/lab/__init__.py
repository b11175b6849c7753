"""Measure models: ablations, benchmarks, inspection, pruning, previews, and tables of the results."""
