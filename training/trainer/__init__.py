"""The training loop, its checkpoints, and the stopping and resuming of a run."""
