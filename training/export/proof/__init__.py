"""Check that an exported graph computes the same as its checkpoint."""
