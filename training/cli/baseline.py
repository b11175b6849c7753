"""Measure again how an exported model routes images, and store it in the artifact.

The service compares the experts that its images choose with this baseline, and warns if they differ. An
export measures the baseline, too. Use this command to measure it again with more images, or with images from
another place, or to add it to an artifact of an older version. The artifact gets a new sha256, and its graph
stays the same. A running service uses the new baseline after it has reloaded the model: send its process a
SIGHUP.
"""

import argparse
from pathlib import Path

from training.cli.data_flags import add_measured_data, measured
from training.cli.flags import UsageError, read
from training.cli.values import positive
from training.data_config import Reading

FLAGS = ("--quiet",)
EXAMPLES = """
examples:
  python -m training baseline model_repository/cells-openvino/1 --data bccd --split val
  python -m training baseline model_repository/cells-openvino/1 --folder line3 --images 1000
      images of the place where the model works; they need no labels
  python -m training baseline model_repository/starter-openvino/1 --recipe starter --data FOLDER --images 1163
      the validation images, then training images up to 1163
"""


def add_flags(parser: argparse.ArgumentParser) -> None:
    """Declare the flags of `baseline`."""
    parser.add_argument("artifact", type=Path, help="folder of one version, which holds manifest.json")
    add_measured_data(parser, "folder with the images", "none", "val")
    about = "folder with images without labels, instead of --data"
    parser.add_argument("--folder", type=Path, help=about)
    count = "number of images, at least 100; more images show smaller differences (default: %(default)s)"
    parser.add_argument("--images", type=positive, default=300, metavar="N", help=count)
    split = "split of --data to fill up with (default: train)"
    parser.add_argument("--training-split", default="train", metavar="SPLIT", help=split)


def run(args: argparse.Namespace) -> None:
    """Measure the routing, and write it into the artifact."""
    from training.workflows import baseline, dataset_config

    if (args.folder is None) == (args.data is None):
        raise UsageError("give the images with --data or with --folder")
    if args.folder is not None:
        images = args.folder.name, baseline.UnlabelledImages(args.folder)
        baseline.measure_baseline(args.artifact, images, None, args.images)
        return
    data, reading = measured(args), read(Reading, args)
    more = dataset_config.training_data(args.data, args.training_split, args.recipe, args.classes, reading)
    training = None if more == data else baseline.training_images(more)
    baseline.measure_baseline(args.artifact, baseline.data_images(data), training, args.images)
