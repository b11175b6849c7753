"""Export a checkpoint into the model repository as artifacts for all targets; on an error, export none."""
