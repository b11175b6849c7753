"""The networks: detectors and classifiers, each built from one ModelConfig."""
