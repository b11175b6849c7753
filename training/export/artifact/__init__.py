"""Write a version folder with its graph and manifest, and release it into the repository."""
