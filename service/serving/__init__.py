"""Load the models, keep track of the served versions, and answer images with them."""
