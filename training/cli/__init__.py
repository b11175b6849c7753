"""The commands of `python -m training`, one module for each command.

A module's docstring begins the command's --help, and EXAMPLES end it. FLAGS names shared flags of flags.py;
`add_flags(parser)` declares the command's own flags. `run(args)` returns the exit code, or None for 0. If
PROGRESS_TO_STDERR is true, the log goes to stderr, so that stdout has only the report."""
