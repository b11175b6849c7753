"""The commands of `python -m training`: a file each, with its flags, what it does with them, what it prints.

A command's docstring is what its --help says first. `add_flags(parser)` declares what may be written after
it, `run(args)` does it and returns the exit code, and `EXAMPLES`, if there are any, end the help.
"""
