"""Time wide depthwise kernels, backward, on this CPU."""

import argparse

from training.cli.flags import say


def add_flags(parser: argparse.ArgumentParser) -> None:
    """Declare no flags."""


def run(args: argparse.Namespace) -> int:
    """Print the table."""
    from training.lab.tables.depthwise import depthwise_table

    say(depthwise_table())
    return 0
