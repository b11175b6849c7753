"""The properties of each task that the exporter needs: outputs, golden sample, comparison and metric."""
