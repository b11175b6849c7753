"""The networks for all tasks, such as detectors and classifiers; a ModelConfig describes each one."""
