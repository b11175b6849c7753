"""From a network to the graph that an engine reads."""
