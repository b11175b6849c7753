"""Model families: the configuration for every size, and how the models are trained."""
