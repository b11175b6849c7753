"""A version folder: its graph, its manifest, its release into the repository."""
