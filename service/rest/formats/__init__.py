"""Write answers in the format that a request chooses; each format has one file."""
