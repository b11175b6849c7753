"""Which backend answers a request, and whether one does."""
