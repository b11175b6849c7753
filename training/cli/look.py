"""Draw the samples of an epoch into one image: what augmentation makes of the data, and whether boxes are
where they should be. Regions to ignore are hatched. Takes what train takes; nothing is trained.
"""

import argparse
from pathlib import Path

from training.cli.run_flags import add_run, train_options
from training.cli.values import positive

EXAMPLES = """
examples:
  python -m training look --recipe small-data --data bccd --output batches.png
  python -m training look --recipe paper --variant esmoe-s --data bccd --output batches.png
      with the paper's mosaic, mixup and copy-paste for this size
  python -m training look --recipe small-data --data bccd --epoch 100 --output last.png
      the last epochs, in which images stand alone
  python -m training look --recipe small-data --data bccd --balance-classes 0.3 --output balanced.png
      images of rare classes more often, as a balanced run is shown them
"""


def add_flags(parser: argparse.ArgumentParser) -> None:
    """Declare the flags of `look`: those of `train`, and those of the image to draw."""
    parser.add_argument("--output", type=Path, required=True, metavar="FILE", help="a .png or .jpg")
    epoch = "from 1; the last ones close mosaic (default: %(default)s)"
    parser.add_argument("--epoch", type=positive, default=1, help=epoch)
    names, at_most = ("--images", "--pictures"), "at most (default: %(default)s)"
    parser.add_argument(*names, type=positive, default=16, metavar="N", help=at_most)
    add_run(parser)
    parser.set_defaults(run_dir=Path())  # nothing is written into a run's folder


def run(args: argparse.Namespace) -> int:
    """Draw the samples."""
    from training.lab.preview import look

    drawn = look(train_options(args), args.output, epoch=args.epoch, images=args.images)
    print(f"drew {drawn} images of epoch {args.epoch} into {args.output}")
    return 0
