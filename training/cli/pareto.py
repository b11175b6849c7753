"""Compare trained models by throughput and accuracy, in every setting, and mark the Pareto front.

Each checkpoint is measured on labelled images, with every number of experts that it allows. Then all models
are timed in turn with OpenVINO, on one thread. The folders of runs that differ only in the seed, such as
runs/mixture-0 and runs/mixture-1, are one model: its mAP is the mean, with the range of the seeds.
"""

import argparse
import logging
from pathlib import Path
from typing import Any

from training.cli.data_flags import add_measured_data
from training.cli.flags import CHECKPOINT, add_fields, read
from training.cli.values import from_0_to_1, from_zero
from training.data_config import Reading
from training.lab.pareto.command import ParetoOptions

PROGRESS_TO_STDERR = True  # stdout is the report
FLAGS = ("--json", "--quiet")
log = logging.getLogger(__name__)
EXAMPLES = """
A model with experts has one point for each K and weight threshold (graphs that skip experts), and one point
with all experts computed, called "NAME dense". A network with paths has one point for each K of its routes:
the router of the paths, then the network of the image's route. A model is called as the folder of its run,
without the seed at the end.

Throughput at equal mAP: each point of the first model is compared with the fastest point of the second one
whose mAP50-95 is at most 0.1 point lower. The detections of a checkpoint are kept beside it, so that it is
measured once. Do not use the machine for other work while the models are timed.

examples:
  python -m training pareto runs/mixture-? runs/dense-? --against mixture dense --plot pareto.png
      two variants with several seeds, on the validation data of the first run
  python -m training pareto runs/mixture-0 --against mixture "mixture dense" --weight-threshold 0 \\
      --weight-threshold 0.2
  python -m training pareto runs/mixture-? --recipe starter --data folder --json > pareto.json
  python -m training pareto runs/mixture-0 --peer other.onnx --peer-map other=0.412
      another detector, whose mAP50-95 on the same images is known; without it, only its time is drawn
"""


def add_flags(parser: argparse.ArgumentParser) -> None:
    """Declare the flags of `pareto`, which set the fields of ParetoOptions."""
    about = f"{CHECKPOINT.replace('its best checkpoint by validation', 'its last checkpoint')}"
    parser.add_argument("checkpoints", type=Path, nargs="+", metavar="checkpoint", help=about)
    add_measured_data(parser, default="the validation data of the first run")
    meanings = {
        "top_ks --top-k K": "experts that may run; may be repeated; default: all numbers that a model allows",
        "weight_thresholds --weight-threshold P": "weight threshold; may be repeated; default: as trained",
        "peers --peer ONNX": "another detector to time in the same rounds; may be repeated",
        "peer_maps --peer-map NAME=MAP": "mAP50-95 (0 to 1) of a peer on the same images; NAME is the name "
        "of its file without .onnx; may be repeated",
        "precision": "precision of the timed graphs; mAP is measured in float32",
        "rounds N": "number of rounds to keep",
        "timed_images N": "measured images that are timed, spread over the data",
    }
    forms = {"top_ks": from_zero, "weight_thresholds": from_0_to_1, "peer_maps": _named_map}
    add_fields(parser, ParetoOptions, meanings, **forms)
    against = "print the throughput of A relative to B at equal mAP; may be repeated"
    pair: dict[str, Any] = {"nargs": 2, "action": "append", "default": [], "metavar": ("A", "B")}
    parser.add_argument("--against", help=against, **pair)
    parser.add_argument("--plot", type=Path, metavar="FILE", help="draw the points as .png, .svg or .pdf")


def _named_map(text: str) -> tuple[str, float]:
    """Return the name and the mAP of a peer such as `other=0.412`."""
    name, equals, value = text.rpartition("=")
    if not (name and equals):
        raise argparse.ArgumentTypeError(f"{text!r} is not NAME=MAP, such as other=0.412")
    return name, from_0_to_1(value)


def run(args: argparse.Namespace) -> int:
    """Measure and time the models and print the points; return 1 if the machine was too busy."""
    from training.lab.benchmark.plot import require_drawable
    from training.lab.pareto.candidates import find_candidates
    from training.lab.pareto.command import pareto
    from training.lab.pareto.plot import draw
    from training.lab.tables.pareto import pareto_json, pareto_report
    from training.workflows.run_data import measured_on

    if args.plot:
        require_drawable(args.plot)
    options = read(ParetoOptions, args, against=tuple(map(tuple, args.against)))
    candidates, left_out = find_candidates(args.checkpoints)
    selection = (args.data, args.split, args.recipe, args.classes, read(Reading, args))
    data = measured_on(candidates[0].checkpoints[0], *selection)
    result = pareto(candidates, data, options, left_out=left_out)
    print((pareto_json if args.json else pareto_report)(result))
    if args.plot and result.points:
        draw(result, args.plot)
        log.info(f"drew {args.plot}")
    return int(result.noisy)
