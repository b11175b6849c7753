"""From a checkpoint to artifacts in the model repository, all or nothing."""
