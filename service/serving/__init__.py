"""Load the models, keep track of the served versions, and run them on images."""
