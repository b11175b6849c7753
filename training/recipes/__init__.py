"""Recipes: each is a function that returns a whole training configuration."""
