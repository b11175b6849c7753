"""Turn a detection checkpoint of YOLO12 or YOLO-Master (EsMoE, v0.1) into one that trains, exports and serves
here. The file is read as data: nothing in it is run. What does not fit is refused.
"""

import argparse
from pathlib import Path

from training.cli.values import size


def add_flags(parser: argparse.ArgumentParser) -> None:
    """Declare the flags of `convert`."""
    parser.add_argument("file", type=Path, help="the .pt that its training wrote")
    parser.add_argument("--output", type=Path, help="default: beside the file; replaces nothing")
    parser.add_argument(
        "--input", type=size, metavar="SIZE", help="640 or HEIGHTxWIDTH; default: as the file was trained"
    )
    parser.add_argument(
        "--expect",
        type=Path,
        metavar="NPZ",
        help="hold the result against the original: images uint8 (B, H, W, 3) RGB, and its float32 answers, "
        "boxes (B, A, 4) xyxy pixels and scores (B, A, C)",
    )


def run(args: argparse.Namespace) -> int:
    """Convert the file."""
    from training.convert.command import convert

    convert(args.file, args.output, input_hw=args.input, expect=args.expect)
    return 0
