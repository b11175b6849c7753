"""Measure how the routers of a checkpoint choose experts.

Reports the bits of routing information, the experts that were chosen for no image, and the cost of each
image. Also reports how far the choice of experts depends on the image's origin and on its number of objects.
If you give the folder of an artifact instead, the command prints how the default parameters of requests were
chosen.
training/lab/inspection/README.md explains the report.
"""

import argparse
import logging
from pathlib import Path

from training.cli.data_flags import add_measured_data
from training.cli.flags import UsageError, read
from training.data_config import Reading

PROGRESS_TO_STDERR = True  # stdout is the report
FLAGS = ("checkpoint", "--top-k", "--weight-threshold", "--json", "--quiet")
log = logging.getLogger(__name__)
EXAMPLES = """
examples:
  python -m training inspect runs/cells --output drawn
      on the validation data of the run, which the configuration beside the checkpoint names
  python -m training inspect runs/cells/model.safetensors --data another --split test
  python -m training inspect converted.safetensors --recipe starter --data data
      for a checkpoint that does not name its data; the folder data holds bccd, aquarium and playing_cards
  python -m training inspect model_repository/cells-openvino
      the settings of top_k and weight_threshold that the export measured, and the one that is the default
"""


def add_flags(parser: argparse.ArgumentParser) -> None:
    """Declare the flags of `inspect`."""
    parser.add_argument("--output", type=Path, metavar="FOLDER", help="also draw charts into this folder")
    layer = "with --output: layer whose experts sort the example images; default: the one with most bits"
    parser.add_argument("--layer", help=layer)
    run_data = "the validation data of the checkpoint's run"
    add_measured_data(parser, "folder with images and labels", run_data, f"val; without --data, {run_data}")


def run(args: argparse.Namespace) -> None:
    """Route every image, print the report, and draw charts if --output is given."""
    from training.lab.inspection.charts import draw_charts, require_folder
    from training.lab.inspection.command import InspectOptions, inspect
    from training.lab.tables.defaults import defaults_json, defaults_table, newest_version
    from training.lab.tables.routing import routing_json, routing_table

    if artifact := newest_version(args.checkpoint):
        print((defaults_json if args.json else defaults_table)(artifact))
        return
    if args.output:
        require_folder(args.output)
    elif args.layer:
        raise UsageError("--layer selects the images that --output draws: give --output")
    found = inspect(read(InspectOptions, args, reading=read(Reading, args)))
    report = found.report
    print(routing_json(report, found.facts) if args.json else routing_table(report, found.heading))
    if args.output:
        for path in draw_charts(found, args.output, args.layer):
            log.info(f"drew {path}")
