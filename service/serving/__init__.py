"""The served models: which there are, and which version answers."""
