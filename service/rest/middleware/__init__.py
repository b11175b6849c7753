"""Define the middleware, which handles every request before its route, and every answer after it."""
