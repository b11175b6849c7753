"""Copy the model repository to a new folder without links, for object stores and other places that have none.

Triton's models of networks with paths hold links to the graphs in the artifact's folder. In the copy, they
hold files. Each OpenVINO graph then has its own weights alone, also if an artifact stores equal weights of
several graphs once.
"""

import argparse
from pathlib import Path

from training.export.triton.unlinked import copy_without_links

FLAGS = ("--repository", "--quiet")
EXAMPLES = """
examples:
  python -m training copy-repository --to upload
  rclone copy upload store:models
      the second command uploads the copy; any other tool will do
"""


def add_flags(parser: argparse.ArgumentParser) -> None:
    """Declare the flags of `copy-repository`."""
    parser.add_argument("--to", type=Path, required=True, metavar="FOLDER", help="new folder for the copy")


def run(args: argparse.Namespace) -> None:
    """Copy the repository, and print the folder and its size."""
    folder = copy_without_links(args.repository, args.to)
    size = sum(path.stat().st_size for path in folder.rglob("*") if path.is_file())
    print(f"wrote {folder}, {size / 1e6:.1f} MB")
