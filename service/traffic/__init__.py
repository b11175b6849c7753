"""Decide which backend answers a request, and whether the service accepts the request."""
