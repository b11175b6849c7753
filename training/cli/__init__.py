"""The commands of `python -m training`: a file each, with its flags, what it does with them, what it prints.

A command's docstring is what its --help says first. FLAGS are those that it shares with others (flags.py),
`add_flags(parser)` declares its own, `run(args)` does it and returns the exit code, EXAMPLES end the help.
What it does meanwhile is logged, to stderr where PROGRESS_TO_STDERR is true since stdout is the answer.
"""
