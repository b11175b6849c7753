"""Compare the routing of served images with the artifact's baseline, and warn if they differ."""
