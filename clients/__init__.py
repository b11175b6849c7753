"""What a caller installs: detection from Python and from a shell."""
