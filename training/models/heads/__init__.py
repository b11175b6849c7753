"""Heads, which turn feature maps into predictions, one file per kind."""
