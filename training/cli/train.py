"""Train a network for any task, or resume a run that was stopped."""

import argparse
import logging
import os
from pathlib import Path

from training.cli.console import LOGGER, log_level
from training.cli.flags import STOPPED
from training.cli.run_flags import add_run, train_options

log = logging.getLogger(__name__)
EXAMPLES = """
variants are named by family and size; `python -m training variants` shows the cost of each
  yolov12-{n,s,m,l,x}  no experts: the baseline
  esmoe-{n,s,m,l,x}    4 experts with growing kernels after each backbone stage; 2 run for each image
  modular-{n,s,m,l}    4, 8 and 16 equal experts, of which 2 run for each image, and a shared expert
  optimized-n          as modular, with 4 experts in every layer
  ultra-n              as optimized, with a cheaper router, group norm and a weight threshold
  moehead-n            4 light detection heads per level; all run, with a weighted sum for each image
  sparsight-{n,s}      ours: experts replace the deep stages; runs with any number of experts, also with 0
  sparsight-path-{n,s} ours: a router chooses a path through all experts before the network runs
other tasks, by the end of the name, with the recipes quick and small-data
  -seg                 masks of objects, of every variant above: sparsight-n-seg
  -pose                keypoints of objects, of every variant above: sparsight-n-pose
  -obb                 boxes with an angle, of every variant above: sparsight-n-obb
  -cls                 classes of images: yolov12-{n,s,m,l,x}-cls, esmoe-{n,s,m,l,x}-cls,
                       modular-{n,s,m,l}-cls, sparsight-{n,s}-cls, sparsight-path-{n,s}-cls

recipes: `train --recipe small-data --help` shows the settings of small-data in brackets; a flag overrides one
  python -m training train --recipe small-data --data bccd --run runs/cells --lr 0.0007 --flip-vertical 0.5
      images of cells have no upright direction, so they may be flipped vertically
  python -m training train --recipe small-data --data export/data.yaml --hold-out 0.2 --run runs/mine
      what a labelling tool exported, without validation images: a fifth of the images is held out
  python -m training train --recipe small-data --data bccd --run runs/red --classes RBC
      trains on one of the classes; give evaluate and export the same --classes
  python -m training train --recipe small-data --variant sparsight-n-cls --data trash --run runs/trash
      a classifier, for 60 epochs at 224 px; the folder has one folder of images per class

recipes with their own data: --data is the folder that `download` filled
  python -m training train --recipe voc --data data/voc --run runs/voc
  python -m training train --recipe starter --data data --run runs/starter
      the folder data holds bccd, aquarium and playing_cards

ablations of place, number, losses and routers of the experts
  python -m training train --run runs/eight --variant esmoe-n --placement neck --experts 8 --top-k 2
  python -m training train --run runs/config5 --variant esmoe-n --dfl 0 --balance 1.5
  python -m training train --run runs/averages --router pooled --fixed-top-k

several GPUs share each batch; `--` ends the flags of torchrun
  torchrun --nproc-per-node 2 -m -- training train --run runs/two
"""


def add_flags(parser: argparse.ArgumentParser) -> None:
    """Declare the flags of `train`."""
    folder = "folder for checkpoints and metrics"
    parser.add_argument("--run", type=Path, dest="run_dir", required=True, help=folder)
    add_run(parser)


def run(args: argparse.Namespace) -> int:
    """Train; return 130 if the run was stopped."""
    from training.trainer.distributed import joined
    from training.workflows import train

    options = train_options(args)
    with (
        joined(os.environ) as processes,
        log_level(LOGGER, logging.INFO if processes.first else logging.ERROR),  # only the first process logs
    ):
        outcome = train.train(options, processes=processes)
        if not outcome.finished:
            log.info(f"stopped after {outcome.position.step} steps; the same command resumes")
            return STOPPED
        log.info(f"done: {outcome.model_path}")
        if outcome.best_path is not None:
            log.info(f"checkpoint with the highest {outcome.best_by}: {outcome.best_path}")
    return 0
