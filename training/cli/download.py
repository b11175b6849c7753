"""Bring a benchmark's data set from its owners into a folder, check it and unpack it; the recipe of the same
name trains on it. Says the owners' terms first. Stopped anywhere, the same command goes on. An archive that
lies in the folder under its own name is used instead of a download.
"""

import argparse
import logging
from pathlib import Path

from training.cli.flags import UsageError, add_fields, read
from training.columns import in_columns
from training.download.catalogue import BENCHMARKS, find_benchmark
from training.download.download import DownloadOptions, download, in_bytes

FLAGS = ("--quiet",)
NAMES = tuple(benchmark.name for benchmark in BENCHMARKS)
log = logging.getLogger(__name__)
EXAMPLES = """
examples:
  python -m training download --list
  python -m training download voc --to data/voc
  python -m training train --recipe voc --data data/voc --run runs/voc
  python -m training download coco --to data/coco --remove-archives
      each archive is removed once it is unpacked: half the space
  python -m training download kitti --to data/kitti --from https://mirror.example.org/kitti
      takes the archives, under their own names, from a mirror of yours; checksums hold as ever
"""


def add_flags(parser: argparse.ArgumentParser) -> None:
    """Declare the flags of `download`."""
    parser.add_argument("name", nargs="?", choices=NAMES, metavar="NAME", help=", ".join(NAMES))
    parser.add_argument("--to", type=Path, metavar="FOLDER", help="where to put it; one folder a data set")
    meanings = {
        "mirror --from URL_PREFIX": "take the archives from here, URL_PREFIX/ARCHIVE; default: where their "
        "owners keep them",
        "remove_archives": "remove each archive once it is unpacked",
    }
    add_fields(parser, DownloadOptions, meanings)
    parser.add_argument("--list", action="store_true", help="what there is, how large, on what terms")


def run(args: argparse.Namespace) -> int:
    """Download the data set, or list all of them."""
    if args.list:
        print(benchmarks_table())
        return 0
    if args.name is None or args.to is None:
        raise UsageError("download takes a NAME and --to FOLDER, or --list")
    try:
        download(find_benchmark(args.name), args.to, read(DownloadOptions, args))
    except KeyboardInterrupt:
        log.warning("training: what came through is kept; the same command goes on")
        raise
    return 0


def benchmarks_table() -> str:
    """Return one line for each data set: name, content, size of the download, checksums and licence."""
    rows = [("name", "what", "download", "checksums", "licence")]
    for each in BENCHMARKS:
        known = all(archive.sha256 for archive in each.archives)
        by_hand = ", by hand" if any(archive.url is None for archive in each.archives) else ""
        size = f"{'' if known else 'about '}{in_bytes(each.size)}{by_hand}"
        rows.append((each.name, each.what, size, "known" if known else "none known", each.licence))
    return "\n".join(in_columns(rows, "lllll"))
