"""List the parameters and GFLOPs of every model beside the published figures.

The parameters and GFLOPs are computed from the shapes of the layers.
"""

import argparse

FLAGS = ("--json",)


def run(args: argparse.Namespace) -> None:
    """Print a table of the models' parameters and GFLOPs, or JSON with --json."""
    from training.lab.tables.models import variants_json, variants_table

    print(variants_json() if args.json else variants_table())
