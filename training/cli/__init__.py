"""The commands of `python -m training`, one file each: its flags, what it does with them, what it prints.

A command's docstring is the beginning of its --help. FLAGS are flags that it shares with other commands
(flags.py). `add_flags(parser)` declares its own flags, `run(args)` runs the command and returns the exit
code, and EXAMPLES end the help. Progress is logged; it goes to stderr if PROGRESS_TO_STDERR is true, since
stdout is then the answer.
"""
