"""Check a data set before training.

Reports its splits, the objects by class and size, duplicate images, images that cannot be decoded, and
problems with labels. Draws some images with their labels. The exit code is 1 if nothing can be learned from
the data.
"""

import argparse
import sys
from dataclasses import replace
from pathlib import Path

from training.cli.data_flags import add_recipe_data, add_training_data
from training.cli.flags import UsageError, add_shared, read
from training.cli.values import positive, size
from training.config import TASKS
from training.data_config import Reading

EXAMPLES = """
examples
  python -m training check bccd
  python -m training check bccd --input 320
      also counts the objects that are too small to be learned from at 320 px
  python -m training check export/data.yaml --hold-out 0.2
      as a training that holds out a fifth of the images for validation
  python -m training check bccd --val-split test --classes RBC WBC --output cells.png
  python -m training check leaves --task segment
      with the masks that a segmenter learns, also in the drawing
  python -m training check --recipe voc data/voc
      the data of the recipe, in the folder that `download voc --to data/voc` filled
"""


def add_flags(parser: argparse.ArgumentParser) -> None:
    """Declare the flags of `check`."""
    about = "folder with images and labels, as for train; may also be given as --data"
    # If DATA had a type and not this default, a missing DATA would replace the value of --data.
    parser.add_argument("data", metavar="DATA", nargs="?", default=argparse.SUPPRESS, help=about)
    labels = "read the labels that this task learns; default: classify if images have classes, else detect"
    parser.add_argument("--task", choices=TASKS, dest="task_name", help=labels)
    network = "network input, 640 or HEIGHTxWIDTH; default: 640, and 224 for classification"
    parser.add_argument("--input", type=size, dest="input_hw", metavar="SIZE", help=network)
    drawing = "a .png or .jpg file for the drawing, which is replaced (default: %(default)s)"
    parser.add_argument("--output", type=Path, default=Path("check.png"), metavar="FILE", help=drawing)
    most = "largest number of images in the drawing, taken evenly from the split (default: %(default)s)"
    parser.add_argument("--images", type=positive, default=16, metavar="N", help=most)
    add_training_data(parser, use="train on", val_use="validate on")
    add_recipe_data(parser, "check the data of this recipe")
    add_shared(parser, "--quiet")


def run(args: argparse.Namespace) -> int:
    """Print a report on the data set; return 1 if `train` would refuse the data."""
    from training.lab.check import check
    from training.workflows.train import TrainOptions

    if args.data is None:
        raise UsageError("check takes a data set: python -m training check DATA")
    args.data = Path(args.data)
    options = read(TrainOptions, args, run_dir=Path(), reading=read(Reading, args))
    options = replace(options, val_split=options.val_split or None)
    report, problems = check(
        options, args.output, task_name=args.task_name, input_hw=args.input_hw, images=args.images
    )
    print(report)
    for problem in problems:
        print(f"training: {problem}", file=sys.stderr)
    return int(bool(problems))
