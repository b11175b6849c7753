"""Helpers that call the training command line in tests."""

from training.__main__ import main
from training.cli.commands import build_parser


def failure(capsys, *argv):
    assert main(argv) == 1
    captured = capsys.readouterr()
    assert captured.err.count("\n") == 1
    assert captured.err.startswith("training: ")
    return captured.err


def flags_of(command):
    """Return the arguments of a command: flags by name, and positional arguments."""
    parser = build_parser([command])
    (commands,) = (each.choices for each in parser._actions if isinstance(each.choices, dict))
    actions = [each for each in commands[command]._actions if each.dest != "help"]
    return {name for each in actions for name in each.option_strings or [each.metavar or each.dest]}
