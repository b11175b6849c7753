"""Time wide depthwise kernels, backward, on this CPU."""

import argparse


def run(args: argparse.Namespace) -> int:
    """Print the table."""
    from training.lab.tables.depthwise import depthwise_table

    print(depthwise_table())
    return 0
