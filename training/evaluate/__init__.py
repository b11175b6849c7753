"""How good a detector is, and what its experts do."""
