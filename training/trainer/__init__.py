"""Train a model, write its checkpoints, and stop and resume runs."""
