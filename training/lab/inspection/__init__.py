"""What the routers of a checkpoint do on a data set, in figures and in charts."""
