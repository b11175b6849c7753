"""Fetch the images that callers name by URL, from the hosts that the operator allows."""
