"""What each command does, callable from Python as from the command line."""
