"""The uvicorn servers, and what happens on a connection before a request: TLS, limits on heads, refusals."""
