"""Time models here: dense, sparse, and what skipping experts could gain at most."""

import argparse
import logging
from pathlib import Path

from training.cli.flags import add_fields, read
from training.cli.values import from_zero
from training.lab.benchmark.command import DEFAULT_VARIANTS, BenchmarkOptions, benchmark
from training.lab.benchmark.plot import draw, require_drawable
from training.lab.tables.benchmark import benchmark_json, benchmark_report
from training.models.variants import DETECT_VARIANTS

PROGRESS_TO_STDERR = True  # stdout is the table
FLAGS = ("--json", "--quiet")
log = logging.getLogger(__name__)
EXAMPLES = f"""
every model is run dense (all experts computed), sparse (those not chosen are skipped) at each K, and as the
bound of what skipping can gain: with only the experts that the image chose, nothing to choose. All of them
take turns, round after round; a round in which dense differs from itself by more than 10 % is refused and
run again. Leave the machine alone meanwhile.

examples; of nothing else {", ".join(DEFAULT_VARIANTS)}; OpenVINO, float32, one thread
  python -m training benchmark --variant sparsight-n --variant yolov12-n --precision f32 --precision bf16
  python -m training benchmark runs/cells/model.safetensors --peer other.onnx --plot benchmark.png
  python -m training benchmark --variant esmoe-n --profile
      and where the time of a sparse run goes
"""


def add_flags(parser: argparse.ArgumentParser) -> None:
    """Declare the flags of `benchmark`: fields of BenchmarkOptions."""
    files = "model.safetensors; any number"
    parser.add_argument("checkpoints", type=Path, nargs="*", metavar="checkpoint", help=files)
    meanings = {
        "variants --variant NAME": "with random weights and 80 classes; may be repeated; all are compared "
        "with the first model without experts",
        "peers --peer ONNX": "any other detector beside ours, in the same rounds; may be repeated",
        "input_hw --input SIZE": "640 or HEIGHTxWIDTH; default: 640, and a checkpoint as it was trained",
        "top_ks --top-k K": "experts that run; may be repeated; default: 1, the variant's, and all",
        "engines --engine": "may be repeated",
        "precisions --precision": "bf16 for openvino; may be repeated",
        "threads N": "may be repeated",
        "batches --batch N": "images a run, dense; may be repeated; 1 is always there",
        "rounds N": "quiet ones",
        "profile": "openvino: also which layers take the time of a sparse run",
        "throughput": "openvino: also images a second with all cores busy",
    }
    add_fields(parser, BenchmarkOptions, meanings, variants=DETECT_VARIANTS, top_ks=from_zero)
    parser.add_argument("--plot", type=Path, metavar="FILE", help="draw the table as .png, .svg or .pdf")


def run(args: argparse.Namespace) -> int:
    """Time models and print the table; return 1 if the machine was too busy."""
    if args.plot:
        require_drawable(args.plot)
    result = benchmark(read(BenchmarkOptions, args))
    print((benchmark_json if args.json else benchmark_report)(result))
    if args.plot:
        draw(result, args.plot)
        log.info(f"drew {args.plot}")
    return int(result.noisy)
