"""Format the results of commands for people and as JSON."""
