"""Drops experts that hardly any picture chooses."""
