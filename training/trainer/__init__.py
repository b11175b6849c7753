"""The training loop, with all that it needs to stop and resume."""
