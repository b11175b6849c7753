"""Check that what the version before has made and documented works with this one."""
