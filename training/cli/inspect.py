"""Measure what the routers of a checkpoint know of the images: bits of routing information, experts that no
image chose, how much the chosen experts depend on where an image comes from and on how crowded it is, and
what images cost. training/lab/inspection/README.md says how to read it.
"""

import argparse
import logging
from pathlib import Path

from training.cli.data_flags import add_measured_data
from training.cli.flags import UsageError, read

PROGRESS_TO_STDERR = True  # stdout is the report
FLAGS = ("checkpoint", "--top-k", "--weight-threshold", "--json", "--quiet")
log = logging.getLogger(__name__)
EXAMPLES = """
examples:
  python -m training inspect runs/cells/model.safetensors --output drawn
      what its run validated on: beside a checkpoint lies the configuration of its run, which says where
  python -m training inspect runs/cells/model.safetensors --data another --split test
  python -m training inspect converted.safetensors --recipe starter --data data
      a checkpoint that does not say what it was trained on; data holds bccd, aquarium and playing_cards
"""


def add_flags(parser: argparse.ArgumentParser) -> None:
    """Declare the flags of `inspect`."""
    parser.add_argument("--output", type=Path, metavar="FOLDER", help="also draw charts into this folder")
    layer = "with --output: whose experts example images are sorted by; default: the one with most bits"
    parser.add_argument("--layer", help=layer)
    run_data = "what the checkpoint's run validated on"
    add_measured_data(parser, "folder of images and labels", run_data, f"val, or without --data {run_data}")


def run(args: argparse.Namespace) -> int:
    """Route every image, print the report, and draw charts if --output is given."""
    from training.lab.inspection.charts import draw_charts, require_folder
    from training.lab.inspection.command import InspectOptions, inspect
    from training.lab.tables.routing import routing_json, routing_table

    if args.output:
        require_folder(args.output)
    elif args.layer:
        raise UsageError("--layer says which images are drawn: give --output")
    found = inspect(read(InspectOptions, args))
    report = found.report
    print(routing_json(report, found.facts) if args.json else routing_table(report, found.heading))
    if args.output:
        for path in draw_charts(found, args.output, args.layer):
            log.info(f"drew {path}")
    return 0
