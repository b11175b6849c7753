"""Write the files that Triton needs for an artifact."""
