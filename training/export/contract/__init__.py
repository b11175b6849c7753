"""What all parts of an export share: the form of a graph, its tensors, its number formats."""
