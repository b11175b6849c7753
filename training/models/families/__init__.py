"""Model families, which define the configuration of every model size and how the models are trained."""
