"""The commands of `python -m training`, one file each: its flags, what it does with them, what it prints.

A command's docstring begins its --help, and EXAMPLES end it. FLAGS are flags that it shares (flags.py),
`add_flags(parser)` declares its own, `run(args)` runs it and returns the exit code. Progress is logged, on
stderr if PROGRESS_TO_STDERR is true. Then stdout is the answer."""
