"""Download the data set of a benchmark from its owners, verify it and unpack it.

The recipe of the same name trains on this data set. The owners' terms are shown first. If the download was
stopped, the same command resumes it. An archive that is already in the folder, under its own name, is not
downloaded again.
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
      removes each archive after unpacking, which halves the space
  python -m training download kitti --to data/kitti --from https://mirror.example.org/kitti
      downloads the archives, under their own names, from your mirror; checksums are still verified
"""


def add_flags(parser: argparse.ArgumentParser) -> None:
    """Declare the flags of `download`."""
    parser.add_argument("name", nargs="?", choices=NAMES, metavar="NAME", help=", ".join(NAMES))
    parser.add_argument("--to", type=Path, metavar="FOLDER", help="folder for this data set alone")
    meanings = {
        "mirror --from URL_PREFIX": "download from URL_PREFIX/ARCHIVE; default: from the owners",
        "remove_archives": "remove each archive after unpacking",
    }
    add_fields(parser, DownloadOptions, meanings)
    parser.add_argument("--list", action="store_true", help="list the data sets, their sizes and licences")


def run(args: argparse.Namespace) -> None:
    """Download and unpack the named data set; with --list, print all data sets instead."""
    if args.list:
        print(benchmarks_table())
        return
    if args.name is None or args.to is None:
        raise UsageError("download takes a NAME and --to FOLDER, or --list")
    try:
        download(find_benchmark(args.name), args.to, read(DownloadOptions, args))
    except KeyboardInterrupt:
        log.warning("training: the partial download is kept; the same command resumes")
        raise


def benchmarks_table() -> str:
    """Return one line for each data set: name, content, size of the download, checksums and licence."""
    rows = [("name", "what", "download", "checksums", "licence")]
    for each in BENCHMARKS:
        known = all(archive.sha256 for archive in each.archives)
        by_hand = ", by hand" if any(archive.url is None for archive in each.archives) else ""
        size = f"{'' if known else 'about '}{in_bytes(each.size)}{by_hand}"
        rows.append((each.name, each.what, size, "known" if known else "none known", each.licence))
    return "\n".join(in_columns(rows, "lllll"))
