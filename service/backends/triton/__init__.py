"""A Triton server over gRPC."""
