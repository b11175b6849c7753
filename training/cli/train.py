"""Train a detector, or go on with a run that was stopped."""

import argparse
import logging
import os
from pathlib import Path

from training.cli.console import LOGGER, log_level
from training.cli.flags import STOPPED
from training.cli.run_flags import add_run, train_options

log = logging.getLogger(__name__)
EXAMPLES = """
variants by family, the size after the dash; what each holds and computes: python -m training variants
  yolov12-{n,s,m,l,x}  no experts: what the others are measured against
  esmoe-{n,s,m,l,x}    after each stage of the backbone 4 experts of growing kernels, 2 for each image
  modular-{n,s,m,l}    4, 8 and 16 equal experts, 2 for each image, beside one that always runs
  optimized-n          the same with 4 everywhere, the step before it
  ultra-n              the step after it: a cheaper router, group norm, experts of little weight left out
  moehead-n            4 light detection heads a level, all of them run, weighed for each image
  sparsight-{n,s}      ours: experts do the work of the deep stages; runs with any number of them, 0 included
for classification, on the same backbones; recipes quick and small-data train them
  yolov12-{n,s,m,l,x}-cls, esmoe-{n,s,m,l,x}-cls, sparsight-{n,s}-cls

images in a folder for each class, in train/ and val/ or without splits: small-data is 60 epochs at 224 px
  python -m training train --recipe small-data --variant sparsight-n-cls --data trash --run runs/trash

what a recipe decides: train --recipe small-data --help shows its values in brackets; each flag overrides one
  python -m training train --recipe small-data --data bccd --run runs/cells --lr 0.0007 --flip-vertical 0.5
      cells have no up: images of them may be turned upside down as well
  python -m training train --recipe small-data --data bccd --run runs/red --classes RBC
      some of the classes; evaluate and export take --classes too

a recipe with data of its own: --data is the folder it lies in, as `download` leaves it
  python -m training train --recipe voc --data data/voc --run runs/voc
  python -m training train --recipe starter --data data --run runs/starter
      data holds bccd, aquarium and playing_cards

an ablation: where experts stand, how many there are, how many run, what they are asked for
  python -m training train --run runs/eight --variant esmoe-n --placement neck --experts 8 --top-k 2
  python -m training train --run runs/config5 --variant esmoe-n --dfl 0 --balance 1.5
  python -m training train --run runs/averages --router pooled --fixed-top-k

several GPUs, each with its share of every batch; the two dashes end torchrun's own flags
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
        log_level(LOGGER, logging.INFO if processes.first else logging.ERROR),  # the first tells for all
    ):
        outcome = train.train(options, processes=processes)
        if not outcome.finished:
            log.info(f"stopped after {outcome.position.step} steps; the same command goes on from there")
            return STOPPED
        log.info(f"done: {outcome.model_path}")
        if outcome.best_path is not None:
            log.info(f"of the evaluation with the highest {outcome.best_by}: {outcome.best_path}")
    return 0
