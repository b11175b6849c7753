"""Convert a checkpoint of YOLO12 or YOLO-Master (EsMoE, v0.1) to a checkpoint of this project.

The model can be for detection, segmentation, pose, oriented boxes or classification. The file is only read as
data, so no code in it runs. A model that does not fit is refused.
"""

import argparse
from pathlib import Path

from training.cli.values import size


def add_flags(parser: argparse.ArgumentParser) -> None:
    """Declare the flags of `convert`."""
    parser.add_argument("file", type=Path, help="the .pt file of the other project")
    parser.add_argument("--output", type=Path, help="a new .safetensors file; default: beside the .pt file")
    sides = "model input, 640 or HEIGHTxWIDTH; default: as the file was trained"
    parser.add_argument("--input", type=size, metavar="SIZE", help=sides)
    arrays = (
        "compare with results of the original model: images (B, H, W, 3) uint8 RGB, and its float32 outputs, "
        "for a detector boxes (B, A, 4) xyxy in pixels and scores (B, A, C); training/convert/README.md has "
        "those of other tasks"
    )
    parser.add_argument("--expect", type=Path, metavar="NPZ", help=arrays)


def run(args: argparse.Namespace) -> None:
    """Convert the .pt file to a checkpoint of this project."""
    from training.convert.command import convert

    convert(args.file, args.output, input_hw=args.input, expect=args.expect)
