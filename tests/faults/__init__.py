"""Break a running gateway on purpose, and check what callers notice: `python -m tests.faults`."""
