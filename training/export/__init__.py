"""From a checkpoint to artefacts in the model repository, all or nothing."""
