"""What is measured of models: ablations, benchmarks, inspection, pruning, previews, and their tables."""
