"""Export a checkpoint into the model repository: all artifacts or none."""
