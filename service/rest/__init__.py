"""HTTP only: what goes over the wire, and nothing of how images are understood."""
