"""The tasks of networks, one file each: head, loss, samples, metric and defaults."""
