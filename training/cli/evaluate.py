"""Measure the mAP of a detector, or the top-1 and top-5 accuracy of a classifier.

With --url, measures the mAP of a running service.
"""

import argparse
import logging
from pathlib import Path
from typing import TYPE_CHECKING

from training.cli.data_flags import add_measured_data, measured
from training.cli.flags import CHECKPOINT, UsageError, read
from training.cli.values import from_0_to_1
from training.data_config import Reading

if TYPE_CHECKING:
    from training.evaluate.routed import Result

PROGRESS_TO_STDERR = True  # stdout is the report
FLAGS = ("--top-k", "--weight-threshold", "--json", "--quiet")
log = logging.getLogger(__name__)
BACKENDS = ("auto", "openvino", "onnx", "triton")

EXAMPLES = """
examples:
  python -m training evaluate runs/cells
      the best checkpoint of the run, on the run's own validation data
  python -m training evaluate runs/cells/model.safetensors --data bccd --split test
      the last checkpoint of the run, on other images
  python -m training evaluate starter --recipe starter --data data
  python -m training evaluate runs/voc/model.safetensors --recipe voc --data data/voc
      the validation data of the recipe, in the folder that `download voc --to data/voc` filled
  python -m training evaluate --url http://127.0.0.1:8000 --model cells --data bccd --split val
      the answers of a running service
  python -m training evaluate runs/cells/model.safetensors --data bccd --plots plots
      also curves of precision, recall and F1, and the confusion matrix, as PNG and CSV files
"""


def add_flags(parser: argparse.ArgumentParser) -> None:
    """Declare the flags of `evaluate`."""
    parser.add_argument("checkpoint", type=Path, nargs="?", help=f"{CHECKPOINT}; leave out with --url")
    parser.add_argument("--url", help="measure a running service instead, for example http://127.0.0.1:8000")
    parser.add_argument("--model", help="with --url: name of the model; default: chosen by the service")
    backend = "with --url: backend that runs the model; default: chosen by the service"
    parser.add_argument("--backend", choices=BACKENDS, help=backend)
    add_measured_data(parser, default="validation data of the checkpoint's run; for --url, scenes")
    add_plots(parser)


def add_plots(parser: argparse.ArgumentParser) -> None:
    """Add --plots, and the thresholds of its confusion matrix."""
    plots = "write curves and the confusion matrix into this folder, as images and as numbers"
    parser.add_argument("--plots", type=Path, metavar="FOLDER", help=plots)
    matrix = "of a detector's confusion matrix (default: %(default)s)"
    parser.add_argument("--matrix-conf", type=from_0_to_1, default=0.25, help=f"lowest score {matrix}")
    parser.add_argument("--matrix-iou", type=from_0_to_1, default=0.45, help=f"least overlap {matrix}")


def run(args: argparse.Namespace) -> None:
    """Measure, print the report, and write the plots if --plots is given."""
    from training.lab.evaluation_plots import write_plots
    from training.tasks.choose import task_named
    from training.trainer.checkpoint import find_checkpoint
    from training.workflows import measure
    from training.workflows.preflight import check_folder
    from training.workflows.run_data import measured_on

    if (args.checkpoint is None) == (args.url is None):
        raise UsageError("evaluate takes either a checkpoint or --url")
    if args.plots:
        check_folder(args.plots, "--plots")
    found: Result
    if args.url:
        if (args.top_k, args.weight_threshold) != (None, None):
            raise UsageError("--top-k and --weight-threshold are for a checkpoint; a service has its own")
        found = measure.evaluate_service(args.url, measured(args), model=args.model, backend=args.backend)
    else:
        if (args.model, args.backend) != (None, None):
            raise UsageError("--model and --backend are for a service: give --url")
        controls = {"top_k": args.top_k, "weight_threshold": args.weight_threshold}
        checkpoint = find_checkpoint(args.checkpoint)
        selection = (args.data, args.split, args.recipe, args.classes, read(Reading, args))
        found = measure.evaluate_checkpoint(checkpoint, measured_on(checkpoint, *selection), **controls)
    task = task_named(found.task)
    print(task.report_json(found) if args.json else task.report(found))
    if args.plots:
        written = write_plots(found, args.plots, conf=args.matrix_conf, iou=args.matrix_iou)
        log.info(f"wrote into {args.plots}: {', '.join(path.name for path in written)}")
