"""The middleware: what every request and every answer passes, before and after its route."""
