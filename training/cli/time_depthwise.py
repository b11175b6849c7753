"""Time the backward pass of wide depthwise kernels on this CPU."""

import argparse


def run(args: argparse.Namespace) -> None:
    """Print the table."""
    from training.lab.tables.depthwise import depthwise_table

    print(depthwise_table())
