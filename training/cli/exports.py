"""List every exported model, and how much its outputs differ from those of its checkpoint.

The figures are taken from the manifests.
"""

import argparse

FLAGS = ("--repository", "--json")


def run(args: argparse.Namespace) -> None:
    """Print a table of the exported models, or JSON with --json."""
    from training.lab.tables.exports import exports_json, exports_table

    print((exports_json if args.json else exports_table)(args.repository))
