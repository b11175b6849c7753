"""Images of what a training run is shown."""
