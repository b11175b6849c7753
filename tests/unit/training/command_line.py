"""The command line, as tests call it."""

from training.__main__ import main


def failure(capsys, *argv):
    assert main(argv) == 1
    captured = capsys.readouterr()
    assert captured.err.count("\n") == 1
    assert captured.err.startswith("training: ")
    return captured.err
