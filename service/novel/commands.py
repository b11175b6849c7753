"""List and export kept images from a shell: `python -m service novel`."""

import argparse
import os
from collections.abc import Callable
from pathlib import Path
from typing import get_args

from service.novel.export import ExportFormat, check_folder, export
from service.novel.folder import read_records

FOLDER = "SPARSIGHT_NOVEL__FOLDER"
_PREFIX = "/data/local-files/?d=images/"
_EXAMPLES = """
examples:
  python -m service novel list --folder novel
  python -m service novel export --folder novel --format coco --output to_label --images 100
      the 100 most novel images, for CVAT and other tools, and for `python -m training train --data to_label`
  python -m service novel export --folder novel --format label-studio --output to_label
      start Label Studio with LABEL_STUDIO_LOCAL_FILES_SERVING_ENABLED=true and
      LABEL_STUDIO_LOCAL_FILES_DOCUMENT_ROOT=$PWD/to_label, paste label_config.xml as the project's labelling
      interface, add a local storage for $PWD/to_label/images, and import tasks.json
"""
_COLUMNS = """Show the images, the most novel first.

  score       how novel the image is: its rarity + 1 - confidence
  rank        share of the baseline's images whose routing is less unusual; 1: unlike all of them
  confidence  that of the best prediction
  why         rare-path: few known images are routed like this, and no prediction is confident;
              disagreement: the routing is rare, although a prediction is confident;
              unsure: only the confidence is low
"""


def add_novel_commands(commands: "argparse._SubParsersAction[argparse.ArgumentParser]") -> None:
    """Add the command `novel` to a parser."""
    parser = commands.add_parser(
        "novel",
        help="list the kept novel images, and export them to a label tool",
        description="List the images that the service keeps because they are unlike the baseline, and export "
        "them to a label tool, with the model's predictions as proposals. The service need not run.",
        epilog=_EXAMPLES,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    verbs = parser.add_subparsers(dest="verb", required=True, metavar="COMMAND")
    listed = verbs.add_parser(
        "list",
        help="show the images, the most novel first",
        description=_COLUMNS,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    _add_folder(listed)
    exported = verbs.add_parser("export", help="copy the images into a new folder, in a label tool's format")
    _add_folder(exported)
    exported.add_argument(
        "--format",
        choices=get_args(ExportFormat),
        required=True,
        help="coco: annotations/instances_default.json and images/; label-studio: tasks.json with "
        "pre-annotations, label_config.xml and images/",
    )
    exported.add_argument("--output", type=Path, required=True, help="a new or empty folder")
    exported.add_argument("--model", help="needed if the folder has images of several models")
    exported.add_argument("--images", type=_positive, help="most images, the most novel first (default: all)")
    exported.add_argument(
        "--prefix",
        default=_PREFIX,
        help="what Label Studio needs before the name of an image (default: %(default)s)",
    )


def run_novel_command(args: argparse.Namespace, say: Callable[[str], None]) -> str:
    """Run a command; return its output. Remarks that are only for people go to the function `say`.

    Raises:
        ExportRefused: what is asked for cannot be done.
        OSError: a file cannot be read or written.
    """
    if args.verb == "list":
        check_folder(args.folder)
        return _table(args.folder)
    count = export(
        args.folder, args.output, args.format, model=args.model, most=args.images, prefix=args.prefix
    )
    say(f"exported {count} images to {args.output}")
    return ""


def _table(folder: Path) -> str:
    rows = [("id", "score", "rank", "confidence", "why", "model", "hour")]
    for record in sorted(read_records(folder), key=lambda record: (-record.score, record.id)):
        confidence = "-" if record.confidence is None else f"{record.confidence:.3f}"
        numbers = (f"{record.score:.3f}", f"{record.rank:.3f}", confidence)
        model = f"{record.model} {record.version}"
        rows.append((record.id, *numbers, record.why, model, f"{record.hour:%Y-%m-%d %H:%M}"))
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    return "\n".join("  ".join(map(str.ljust, row, widths)).rstrip() for row in rows)


def _add_folder(parser: argparse.ArgumentParser) -> None:
    default = os.environ.get(FOLDER)
    parser.add_argument(
        "--folder",
        type=Path,
        default=default,
        required=default is None,
        help=f"folder of the kept images (default: the value of {FOLDER})",
    )


def _positive(text: str) -> int:
    if not (text.isascii() and text.isdigit() and int(text) > 0):
        raise argparse.ArgumentTypeError(f"{text!r} is no number of images")
    return int(text)
