"""Make OpenTelemetry spans of the steps of requests, and send them to a collector."""
