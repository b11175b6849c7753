"""What a caller installs; arrives with the first client."""
