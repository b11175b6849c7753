"""List every exported model and how far it is from its checkpoint, from the manifests."""

import argparse

FLAGS = ("--repository", "--json")


def run(args: argparse.Namespace) -> int:
    """Print the table."""
    from training.lab.tables.exports import exports_json, exports_table

    print((exports_json if args.json else exports_table)(args.repository))
    return 0
