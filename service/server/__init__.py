"""Run the uvicorn servers, with TLS, limits on the heads of requests, and early refusals."""
