"""The tasks of networks; one file for each task defines its network, loss, samples, metric and defaults."""
