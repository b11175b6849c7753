"""Convert a network into the graph that an engine reads."""
