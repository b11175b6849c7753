"""Measure which experts a checkpoint's routers choose on a data set, and why, as figures and charts."""
