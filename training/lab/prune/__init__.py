"""Drops experts that hardly any image chooses."""
