"""What each target can do, and what only one of them needs."""
