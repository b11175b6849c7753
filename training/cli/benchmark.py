"""Measure how long models take on this machine with all experts (dense), and when they skip experts (sparse).

Also measures models that contain only the chosen experts. Their time is a lower bound for the time of models
that skip experts.
"""

import argparse
import logging
from pathlib import Path

from training.cli.flags import add_fields, read
from training.cli.values import from_zero
from training.errors import ConfigError
from training.lab.benchmark.command import DEFAULT_VARIANTS, BenchmarkOptions, benchmark
from training.lab.benchmark.memory import measure_memory
from training.lab.benchmark.plot import draw, require_drawable
from training.lab.tables.benchmark import benchmark_json, benchmark_report
from training.lab.tables.memory import memory_json, memory_report
from training.models.variants import OBJECT_VARIANTS

PROGRESS_TO_STDERR = True  # stdout is the table
FLAGS = ("--json", "--quiet")
log = logging.getLogger(__name__)
EXAMPLES = f"""
Each model runs in three forms: dense computes all experts, sparse skips those that an image does not choose,
and bound is a graph that holds only the chosen experts. The forms run in turn, in rounds. A round is repeated
if two timings of dense differ by more than 10 %. Do not use the machine for other work meanwhile.

examples; without a model: {", ".join(DEFAULT_VARIANTS)}, with OpenVINO in float32 on one thread
  python -m training benchmark --variant sparsight-n --variant yolov12-n --precision f32 --precision bf16
  python -m training benchmark runs/cells/model.safetensors --peer other.onnx --plot benchmark.png
  python -m training benchmark --variant esmoe-n --profile
      also shows which layers take the time of a sparse run
  python -m training benchmark --variant sparsight-path-n --variant sparsight-n --precision int8 --memory
"""


def add_flags(parser: argparse.ArgumentParser) -> None:
    """Declare the flags of `benchmark`, which set the fields of BenchmarkOptions."""
    files = "any number of checkpoints (model.safetensors)"
    parser.add_argument("checkpoints", type=Path, nargs="*", metavar="checkpoint", help=files)
    meanings = {
        "variants --variant NAME": "model with random weights, 80 classes; may be repeated; the reference is "
        "the first model without experts",
        "peers --peer ONNX": "another detector to time in the same rounds; may be repeated",
        "input_hw --input SIZE": "640 or HEIGHTxWIDTH; default: 640; for a checkpoint, its own size",
        "top_ks --top-k K": "experts that run; may be repeated; default: 1, the variant's number, and all",
        "engines --engine": "engine that runs the graphs; may be repeated",
        "precisions --precision": "precision; bf16 and int8 only with openvino; may be repeated",
        "threads N": "threads of one run; may be repeated",
        "batches --batch N": "also time dense with N images per run; may be repeated",
        "rounds N": "number of rounds to keep",
        "profile": "openvino: also show which layers take the time of a sparse run",
        "throughput": "openvino: also measure images per second with all cores busy",
    }
    add_fields(parser, BenchmarkOptions, meanings, variants=OBJECT_VARIANTS, top_ks=from_zero)
    only = "measure the memory of processes that have loaded the graphs, instead of times"
    parser.add_argument("--memory", action="store_true", help=only)
    parser.add_argument("--plot", type=Path, metavar="FILE", help="draw the table as .png, .svg or .pdf")


def run(args: argparse.Namespace) -> int:
    """Time models and print the table; return 1 if the machine was too busy."""
    if args.memory:
        return _memory(args)
    if args.plot:
        require_drawable(args.plot)
    result = benchmark(read(BenchmarkOptions, args))
    print((benchmark_json if args.json else benchmark_report)(result))
    if args.plot:
        draw(result, args.plot)
        log.info(f"drew {args.plot}")
    return int(result.noisy)


def _memory(args: argparse.Namespace) -> int:
    """Measure memory instead of times, and print the table."""
    if args.plot:
        raise ConfigError("--plot draws times, and --memory measures none; leave one of them out")
    print((memory_json if args.json else memory_report)(measure_memory(read(BenchmarkOptions, args))))
    return 0
