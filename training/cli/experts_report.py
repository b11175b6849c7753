"""Report what each expert of an exported model serves, in the model's artifact.

The report says for which data sets, numbers of objects and classes each expert is chosen. The service's web
page shows it beside every answer. An export that measures on data writes the report itself; use this command
for an artifact without one. It changes the artifact's manifest, and so the sha256 by which the service names
the artifact.
"""

import argparse
import logging
from pathlib import Path

from training.cli.data_flags import add_measured_data
from training.cli.flags import read
from training.data_config import Reading

FLAGS = ("checkpoint", "--quiet")
log = logging.getLogger(__name__)
EXAMPLES = """
examples:
  python -m training experts-report runs/cells --artifact model_repository/cells-openvino
  python -m training experts-report training/starter/model.safetensors \\
      --artifact model_repository/starter-openvino --recipe starter --data data
      the report that the repository holds; the folder data holds bccd, aquarium and playing_cards
"""


def add_flags(parser: argparse.ArgumentParser) -> None:
    """Declare the flags of `experts-report`."""
    about = "folder <name>-<target> in the model repository; its newest version gets the report"
    parser.add_argument("--artifact", type=Path, required=True, metavar="FOLDER", help=about)
    run_data = "the validation data of the checkpoint's run"
    add_measured_data(parser, "folder with images and labels", run_data, f"val; without --data, {run_data}")


def run(args: argparse.Namespace) -> None:
    """Write the report, and log its path."""
    from training.trainer.checkpoint import find_checkpoint
    from training.workflows.experts_report import add_experts_report
    from training.workflows.run_data import measured_on

    checkpoint = find_checkpoint(args.checkpoint)
    selection = (args.data, args.split, args.recipe, args.classes, read(Reading, args))
    path = add_experts_report(checkpoint, args.artifact, measured_on(checkpoint, *selection))
    log.info(f"wrote {path}")
