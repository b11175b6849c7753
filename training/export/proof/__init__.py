"""That an exported graph does what its checkpoint does."""
