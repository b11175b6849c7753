"""Run models on a Triton server over gRPC."""
