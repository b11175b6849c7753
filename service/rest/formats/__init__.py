"""Write answers in a format; each format has one file."""
