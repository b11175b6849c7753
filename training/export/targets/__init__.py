"""The targets of exports, and code that only one target needs."""
