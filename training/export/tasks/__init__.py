"""What the exporter has to know about each task: outputs, golden sample, comparison and metric."""
