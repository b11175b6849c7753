"""Train, evaluate and export with one command."""

import argparse
import logging
from pathlib import Path

from training.cli import export, train
from training.cli.flags import read
from training.cli.run_flags import add_run
from training.data_config import DataConfig, Reading
from training.errors import ConfigError
from training.export.targets.targets import DEFAULT_TARGETS
from training.models.variants import MixtureChoice, model_config
from training.skeleton import Skeleton

log = logging.getLogger(__name__)
EXAMPLES = """
examples; without --data, on generated scenes
  python -m training train-export --name cells --recipe small-data --data bccd
  python -m training train-export --name voc --recipe voc --data data/voc
      the data of the recipe, in the folder that `download voc --to data/voc` filled
  python -m training train-export --name all --recipe small-data --data bccd --val-split ""
      trains on all images; then the export is not measured
"""


def add_flags(parser: argparse.ArgumentParser) -> None:
    """Declare the flags of `train`, except --like and --precision, and the flags of export.add_export."""
    parser.add_argument("--name", default="scenes", help="name of the served model (default: %(default)s)")
    folder = "folder for checkpoints and metrics; default: runs/NAME"
    parser.add_argument("--run", type=Path, dest="run_dir", help=folder)
    add_run(parser, leave_out=("--like", "--precision"))  # --precision is that of the export
    export.add_export(parser)


def run(args: argparse.Namespace) -> int:
    """Train, then export a checkpoint; if the training was stopped, return its exit code instead.

    The exported checkpoint is the one with the best validation result. With --last, or without validation,
    the checkpoint of the last epoch is exported.
    """
    from training.trainer.checkpoint import MODEL_FILE
    from training.workflows.dataset_config import training_data
    from training.workflows.preflight import before_export

    args.run_dir = args.run_dir or Path("runs") / args.name
    model = model_config(args.variant, ("any",), (64, 64), read(MixtureChoice, args), Skeleton.unnamed(1))
    targets, options = args.target or DEFAULT_TARGETS, export.export_options(args)
    before_export(args.name, targets, options, model, args.repository)
    data = _held_out(args)
    if code := train.run(args):
        return code
    checkpoint = args.run_dir / MODEL_FILE if args.last else args.run_dir
    selection = (args.recipe, args.classes, read(Reading, args))
    trained_on = training_data(args.data, args.split or "train", *selection)
    proved = export.write_artifacts(args, checkpoint, data, trained_on)
    allowed = "" if proved else "SPARSIGHT_SERVE_UNPROVED=true "
    print(f"serve it:  {allowed}make serve MODEL={args.name}")
    print(f"call it:   curl --data-binary @photo.jpg 'localhost:8000/detect?model={args.name}'")
    return 0


def _held_out(args: argparse.Namespace) -> DataConfig | None:
    """Return the held-out data, to measure the export on; None if no images are held out from training."""
    from training.workflows.dataset_config import measured_data

    split, reading = "val" if args.val_split is None else args.val_split, read(Reading, args)
    if reading.hold_out:
        return measured_data(args.data, args.split or "train", args.recipe, args.classes, reading)
    if split not in ("", args.split or "train"):
        return measured_data(args.data, split, args.recipe, args.classes, reading)
    if args.precision == "int8":
        raise ConfigError("precision int8 is measured on held-out images: give another --val-split")
    why = "--val-split is the training split" if split else "--val-split is empty"
    log.info(f"{why}, so the export will not be measured; `export --data FOLDER` measures it on other images")
    return None
