"""Measure what the routers of a checkpoint do on a data set, as figures and charts."""
