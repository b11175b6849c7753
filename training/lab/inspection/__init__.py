"""Measure which experts a checkpoint's routers choose on a data set, and what the choice depends on."""
