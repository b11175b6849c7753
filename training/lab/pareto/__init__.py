"""Compare trained models by throughput and accuracy: the Pareto front, and throughput at equal mAP."""
