"""Ways to run a graph; one file each."""
