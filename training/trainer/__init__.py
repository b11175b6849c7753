"""The training loop, and how a run stops and resumes."""
