"""Packs the starter's images, and wheels of packages, for a machine that cannot download anything.

python -m tests.gpu.pack DATA      DATA holds bccd, aquarium and playing_cards; or set SPARSIGHT_DATA
"""

import argparse
import os
import shutil
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

from tests.gpu.results import say
from tests.gpu.shrink import PackError, images_of, shrink, shrink_dataset
from tests.gpu.wheels import TRAVELLING

ROOT = Path(__file__).resolve().parents[2]
HERE = Path(__file__).resolve().parent
DATASETS = ("bccd", "aquarium", "playing_cards")
LIMIT_BYTES = 60_000_000  # of the working tree and the packed folder together
QUALITIES = (90, 85, 80, 75, 70, 65, 60)  # at lower qualities, block artifacts hide small objects
SAMPLED = 12  # estimate the size of all images from every twelfth
TARGET_PYTHON = "3.12"
PLATFORMS = ("manylinux_2_28_x86_64", "manylinux_2_17_x86_64", "manylinux2014_x86_64")


def main(argv: Sequence[str] | None = None) -> int:
    """Pack; return 1 and print the reason if this is not possible."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("data", type=Path, nargs="?", default=os.environ.get("SPARSIGHT_DATA"))
    parser.add_argument("--into", type=Path, default=HERE / "packed")
    parser.add_argument(
        "--python",
        action="append",
        help=f"Python version of the wheels; may be repeated; default: {TARGET_PYTHON}",
    )
    args = parser.parse_args(argv)
    try:
        if args.data is None:
            raise PackError("say which folder holds the data: as an argument, or in SPARSIGHT_DATA")
        pack(Path(args.data), args.into, args.python or [TARGET_PYTHON])
    except PackError as error:
        sys.stderr.write(f"pack: {error}\n")
        return 1
    return 0


def pack(data: Path, into: Path, pythons: Sequence[str]) -> None:
    """Write data and wheels into a temporary folder, then rename it to `into`.

    Raises:
        PackError: data is missing or malformed, a wheel cannot be downloaded, or the result is too large.
    """
    for name in DATASETS:
        if not (data / name).is_dir():
            raise PackError(f"{data / name}: no such folder")
    partial = into.with_name(f"{into.name}.partial")
    shutil.rmtree(partial, ignore_errors=True)
    collect_wheels(partial / "wheels", pythons)
    tree, wheels = tree_bytes(ROOT), folder_bytes(partial / "wheels")
    quality = fitting_quality(data, LIMIT_BYTES - tree - wheels)
    for name in DATASETS:
        shrink_dataset(data / name, partial / "data" / name, quality)
    images = folder_bytes(partial / "data")
    check_size(tree + wheels + images)
    shutil.rmtree(into, ignore_errors=True)
    partial.rename(into)
    say(
        f"{into}: images of quality {quality} {megabytes(images)}, wheels {megabytes(wheels)}; "
        f"with the tree's {megabytes(tree)} that is {megabytes(tree + wheels + images)}"
    )


def collect_wheels(into: Path, pythons: Sequence[str]) -> None:
    """Download the wheels to pack, in the versions of constraints.txt, for each Python version.

    Raises:
        PackError: a wheel cannot be downloaded; pip prints the reason on standard error.
    """
    pinned = pins(ROOT / "constraints.txt")
    wanted = [f"{name}=={pinned[name.lower()]}" for name in TRAVELLING.values()]
    into.mkdir(parents=True)
    platforms = [flag for platform in PLATFORMS for flag in ("--platform", platform)]
    command = [sys.executable, "-m", "pip", "download", "--quiet", "--no-deps", "--only-binary=:all:"]
    for python in pythons:
        flags = ["--python-version", python, "--implementation", "cp", *platforms, "--dest", str(into)]
        if subprocess.run([*command, *flags, *wanted], check=False).returncode:
            raise PackError(f"pip cannot download {', '.join(wanted)} for Python {python}; see above")


def pins(constraints: Path) -> dict[str, str]:
    """Return the pinned version of each package, by its name in lower case."""
    lines = constraints.read_text(encoding="utf-8").splitlines()
    pairs = (line.partition("==") for line in lines if "==" in line)
    return {name.lower(): version.split()[0] for name, _, version in pairs}


def fitting_quality(data: Path, room_bytes: int) -> int:
    """Return the highest quality with which images and labels should fit, estimated from a sample of images.

    Raises:
        PackError: even with the lowest quality they do not fit.
    """
    for quality in QUALITIES:
        expected = sum(expected_bytes(images_of(data / name), quality) for name in DATASETS)
        if expected * 1.05 < room_bytes:  # 5 % for labels and for the error of the estimate
            return quality
    raise PackError(
        f"the images take {megabytes(expected)} at quality {QUALITIES[-1]}, and there is room for "
        f"{megabytes(room_bytes)}: the tree has grown"
    )


def expected_bytes(images: Sequence[Path], quality: int) -> float:
    """Return the estimated bytes of all images, from every twelfth image."""
    sample = images[::SAMPLED]
    return sum(len(shrink(path, quality).encoded) for path in sample) * len(images) / max(len(sample), 1)


def check_size(total_bytes: int) -> None:
    """Check the total size; raise PackError if it is over the limit."""
    if total_bytes > LIMIT_BYTES:
        raise PackError(
            f"tree, images and wheels are {megabytes(total_bytes)}, over {megabytes(LIMIT_BYTES)}; "
            "nothing was packed"
        )


def tree_bytes(root: Path) -> int:
    """Return the size of the working tree: tracked files, and untracked files that git does not ignore."""
    command = ["git", "ls-files", "-z", "--cached", "--others", "--exclude-standard"]
    listed = subprocess.run(command, cwd=root, check=True, capture_output=True).stdout.decode()
    paths = (root / name for name in listed.split("\0") if name)
    return sum(path.lstat().st_size for path in paths if path.exists())


def folder_bytes(folder: Path) -> int:
    """Return the size of all files in a folder."""
    return sum(path.stat().st_size for path in folder.rglob("*") if path.is_file())


def megabytes(count: float) -> str:
    """Return a number of bytes as text in MB."""
    return f"{count / 1e6:.1f} MB"


if __name__ == "__main__":
    raise SystemExit(main())
