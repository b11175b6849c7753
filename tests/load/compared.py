"""The flags that choose which services are compared, and with which photographs."""

import argparse
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from tests.load.photographs import default_folder, make_photographs
from tests.load.services import STARTER, Service, build_of, lit_serve, naive, running, this_build

CHOICES = ("this", "naive", "litserve")


def add_flags(parser: argparse.ArgumentParser) -> None:
    """Add the flags to a command line."""
    add = parser.add_argument
    add(
        "--photos",
        type=Path,
        default=default_folder(),
        help="folder of large photographs (default: in SPARSIGHT_DATA)",
    )
    add(
        "--artifact",
        type=Path,
        default=STARTER,
        metavar="FOLDER",
        help="of a version, whose repository is served (default: the starter)",
    )
    add("--services", nargs="+", choices=CHOICES, default=list(CHOICES), help="to compare (default: all)")
    add("--before", metavar="COMMIT", help="also compare the service of this commit")
    add("--set", nargs="*", default=[], metavar="SPARSIGHT_NAME=VALUE", help="settings of this build")


@contextmanager
def compared(args: argparse.Namespace) -> Iterator[tuple[dict[str, tuple[str, ...]], list[Service]]]:
    """Make the photographs, start the services, and yield the photographs by size and the services.

    Raises:
        SystemExit: there are no photographs.
    """
    if not (args.artifact / "manifest.json").is_file():
        raise SystemExit(f"there is no manifest.json in {args.artifact}; export a model for openvino first")
    args.artifact = args.artifact.resolve()
    if args.photos is None:
        raise SystemExit("set SPARSIGHT_DATA, or give a folder of large photographs with --photos")
    with tempfile.TemporaryDirectory() as scratch:
        photographs = make_photographs(args.photos, Path(scratch))
        image = photographs["VGA"][0]
        services: list[Service] = []
        if "this" in args.services:
            services.append(this_build(image, dict(one.split("=", 1) for one in args.set), args.artifact))
        if args.before:
            folder = Path(scratch) / "before"
            folder.mkdir()
            services.append(build_of(args.before, folder, image, args.artifact))
        if "naive" in args.services:
            services.append(naive(image, args.artifact))
        if "litserve" in args.services:
            services.append(lit_serve(image, args.artifact))
        with running(services):
            yield photographs, services
