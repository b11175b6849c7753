"""Compare how served images are routed with the baseline of the artifact, and warn if it differs."""
