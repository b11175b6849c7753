"""Recipes: functions that each return a complete training configuration."""
