"""List the parameters and GFLOPs of every model, computed from the shapes of its layers, beside the published
figures."""

import argparse

FLAGS = ("--json",)


def run(args: argparse.Namespace) -> None:
    """Print a table of the models' parameters and GFLOPs, or JSON with --json."""
    from training.lab.tables.models import variants_json, variants_table

    print(variants_json() if args.json else variants_table())
