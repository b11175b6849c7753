"""Model families, one file each: the configuration for every size, and how the models are trained."""
