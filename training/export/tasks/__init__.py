"""For each task: the outputs of its graph, how two answers are compared, and the metric."""
