"""Start a service with tracing, send a request, and look at the spans that arrive at a collector."""
