"""Draw training samples of one epoch into one image, to check augmentation and labels before you train.

The labels are boxes, masks, keypoints or oriented boxes, as the variant learns them. Ignored regions are
hatched. The command takes the flags of `train`, but trains nothing.
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
      one of the last epochs, without mosaic
"""


def add_flags(parser: argparse.ArgumentParser) -> None:
    """Declare the flags of `train`, and flags for the output file and the samples to draw."""
    parser.add_argument("--output", type=Path, required=True, metavar="FILE", help="a .png or .jpg file")
    epoch = "epoch to draw, counted from 1; the last epochs have no mosaic (default: %(default)s)"
    parser.add_argument("--epoch", type=positive, default=1, help=epoch)
    most = "largest number of samples (default: %(default)s)"
    parser.add_argument("--images", "--pictures", type=positive, default=16, metavar="N", help=most)
    add_run(parser)
    parser.set_defaults(run_dir=Path())  # nothing is written into a run's folder


def run(args: argparse.Namespace) -> None:
    """Draw augmented training samples of one epoch into an image file."""
    from training.lab.preview import look

    drawn = look(train_options(args), args.output, epoch=args.epoch, images=args.images)
    print(f"drew {drawn} images of epoch {args.epoch} into {args.output}")
