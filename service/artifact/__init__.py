"""Read the artifacts that the exporter wrote, and check them before the service serves them."""
