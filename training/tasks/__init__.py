"""What a network is for, one file each: its head, loss, samples, metric and defaults."""
