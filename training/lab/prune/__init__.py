"""Remove experts that are chosen for hardly any image."""
