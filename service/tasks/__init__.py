"""What a model is for: one file each for what its outputs mean, how that is sent, and how it is proved."""
