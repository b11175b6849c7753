"""The commands of `python -m training`, one module for each command.

The --help of a command begins with the docstring of its module, and ends with EXAMPLES. FLAGS lists the
shared flags of flags.py that the command has; `add_flags(parser)` declares the command's own flags.
`run(args)` runs the command, and returns the exit code, or None for 0. If PROGRESS_TO_STDERR is true, the log
goes to stderr, so that stdout has only the report.
"""
