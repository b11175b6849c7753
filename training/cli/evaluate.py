"""Measure mAP: of a checkpoint, or of what a running service answers."""

import argparse
from pathlib import Path
from typing import Any

from training.cli.data_flags import add_measured_data
from training.cli.flags import UsageError, add_shared, say, say_aside

BACKENDS = ("auto", "openvino", "triton")

EXAMPLES = """
examples:
  python -m training evaluate runs/cells/model.safetensors --data bccd --split val
  python -m training evaluate runs/voc/model.safetensors --recipe voc --data data/voc
      of a recipe with data of its own: --data is the folder that `download voc --to data/voc` filled
  python -m training evaluate runs/starter/model.safetensors --recipe starter --data data
      the starter's: data holds bccd, aquarium and playing_cards
  python -m training evaluate --url http://127.0.0.1:8000 --model cells --data bccd --split val
      the same of what a service answers
"""


def add_flags(parser: argparse.ArgumentParser) -> None:
    """Declare the flags of `evaluate`."""
    parser.add_argument("checkpoint", type=Path, nargs="?", help="model.safetensors; leave out with --url")
    parser.add_argument("--url", help="measure a running service instead, for example http://127.0.0.1:8000")
    parser.add_argument("--model", help="with --url: the model to ask for; default: the service's own choice")
    parser.add_argument(
        "--backend", choices=BACKENDS, help="with --url: what shall run it; default: the service's own choice"
    )
    add_measured_data(parser)
    add_shared(parser, "--top-k", "--weight-threshold", "--json", "--quiet")


def run(args: argparse.Namespace) -> int:
    """Measure, and print."""
    from training.evaluate.classification import ClassEvaluation
    from training.evaluate.evaluator import Evaluation
    from training.evaluate.report import (
        classification_json,
        classification_report,
        evaluation_json,
        evaluation_report,
    )
    from training.workflows import measure
    from training.workflows.dataset_config import measured_data

    _check(args)
    data = measured_data(args.data, args.split, args.recipe, args.classes)
    told = {"quiet": args.quiet, "say": say_aside}
    found: Any
    if args.url:
        found = measure.evaluate_service(args.url, data, model=args.model, backend=args.backend, **told)
    else:
        controls = {"top_k": args.top_k, "weight_threshold": args.weight_threshold}
        found = measure.evaluate_checkpoint(args.checkpoint, data, **controls, **told)
    match found:
        case Evaluation():
            say((evaluation_json if args.json else evaluation_report)(found.mean_ap, found.images, found))
        case ClassEvaluation():
            say((classification_json if args.json else classification_report)(found))
        case (mean_ap, images):
            say((evaluation_json if args.json else evaluation_report)(mean_ap, images))
    return 0


def _check(args: argparse.Namespace) -> None:
    if (args.checkpoint is None) == (args.url is None):
        raise UsageError("evaluate takes either a checkpoint or --url")
    if args.checkpoint and (args.model, args.backend) != (None, None):
        raise UsageError("--model and --backend are for a service: give --url")
    if args.url and (args.top_k, args.weight_threshold) != (None, None):
        raise UsageError(
            "--top-k and --weight-threshold are for a checkpoint; a service runs what it is set to"
        )
