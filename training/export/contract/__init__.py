"""The form of an exported graph, its tensors and its number formats."""
