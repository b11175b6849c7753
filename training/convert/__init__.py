"""Converts "foreign" networks, trained by other projects, to our checkpoints. No code in the files runs."""
