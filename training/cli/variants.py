"""Count every model from its shapes, beside what papers and releases say. Takes a moment."""

import argparse

FLAGS = ("--json",)


def run(args: argparse.Namespace) -> int:
    """Print the table."""
    from training.lab.tables.models import variants_json, variants_table

    print(variants_json() if args.json else variants_table())
    return 0
