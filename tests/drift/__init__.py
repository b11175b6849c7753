"""Measures how soon the service notices wrong or unfamiliar images, and how often it raises false alarms."""
