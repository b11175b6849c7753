"""Export a checkpoint into the model repository: its artifacts (exported models) for all targets, or none."""
