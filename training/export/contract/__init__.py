"""What every part of an export agrees on: the form of a graph, its tensors, its number formats."""
