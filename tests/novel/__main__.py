"""Print how well the gateway finds images of a new domain: `python -m tests.novel`."""

import argparse
import asyncio
import os
import sys
from collections.abc import Sequence
from datetime import date
from pathlib import Path

import numpy as np

from tests.load.machine import describe_machine
from tests.novel.answers import Scored, answer, reference_of, running, score
from tests.novel.comparison import FOLDER, WAYS, Figures, Interval, compare, keep
from tests.novel.domains import CHOSEN_ON, domains, ordinary

_ROOT = Path(__file__).parents[2]
_FIGURES = {
    "precision": "Precision: the share of planted images among the N first, of N planted ones",
    "recall_twice": "Recall: the share of planted images among the 2 N first",
    "average_precision": "Average precision",
}


def main(argv: Sequence[str] | None = None) -> int:
    """Run the experiment; return the exit code."""
    args = _parser().parse_args(argv)
    data = os.environ.get("SPARSIGHT_DATA")
    if not data:
        print("set SPARSIGHT_DATA to the folder of the datasets", file=sys.stderr)
        return 2
    clean, planted = asyncio.run(_scored(Path(data), args.repository))
    also = f"seed {args.seed}, {date.today()}"
    print(describe_machine(("openvino", "numpy"), also), flush=True)
    print(f"{len(clean)} clean images, {args.share:.0%} planted, {args.streams} streams\n", flush=True)
    figures: dict[str, dict[str, Figures]] = {}
    folders = {}
    for name, images in planted.items():
        figures[name] = compare(clean, images, args.share, args.streams, args.seed)
        folders[name] = keep(clean, images, args.share, args.folders, args.seed)
    for figure, title in _FIGURES.items():
        print(f"{title}\n\n{_table(figure, figures, folders, planted)}\n", flush=True)
    return 0


async def _scored(root: Path, repository: Path) -> tuple[list[Scored], dict[str, list[Scored]]]:
    async with running(repository) as service:
        reference = reference_of(await answer(service, ordinary(root, "train")))
        files = list(ordinary(root, "val"))
        clean = score(await answer(service, files), reference)
        planted = {}
        for name, images in domains(root, files):
            planted[name] = score(await answer(service, images), reference)
            print(f"{name}: {len(images)} images answered", file=sys.stderr)
        return clean, planted


def _table(
    figure: str,
    figures: dict[str, dict[str, Figures]],
    folders: dict[str, np.ndarray],
    planted: dict[str, list[Scored]],
) -> str:
    with_folder = figure == "precision"
    heads = ["domain", "images", *WAYS, "score - low confidence", *([FOLDER] if with_folder else [])]
    lines = [heads, ["---"] * len(heads)]
    groups = {"mean of the new ones": [n for n in figures if n not in CHOSEN_ON], "mean of all": [*figures]}
    for name, ways in figures.items():
        shown = name if name in CHOSEN_ON else f"**{name}**"
        lines.append([shown, str(len(planted[name])), *_cells(figure, [ways])])
        if with_folder:
            lines[-1].append(f"{folders[name].mean():.2f}")
    for title, names in groups.items():
        lines.append([title, "", *_cells(figure, [figures[name] for name in names])])
        if with_folder:
            lines[-1].append(f"{np.mean([folders[name].mean() for name in names]):.2f}")
    return "\n".join("| " + " | ".join(line) + " |" for line in lines)


def _cells(figure: str, rows: Sequence[dict[str, Figures]]) -> list[str]:
    """Return the cells of the mean over some domains: one for each way, and one for the difference."""
    mean = {way: np.mean([getattr(ways[way], figure) for ways in rows], axis=0) for way in WAYS}
    cells = [_cell(values) for values in mean.values()]
    return [*cells, _cell(mean["score"] - mean["low confidence"], signed=True)]


def _cell(values: np.ndarray, *, signed: bool = False) -> str:
    found, sign = Interval.of(values), "+" if signed else ""
    return f"{found.mean:{sign}.2f} ({found.low:{sign}.2f} to {found.high:{sign}.2f})"


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m tests.novel",
        formatter_class=argparse.RawDescriptionHelpFormatter,
        description="Plant images of a domain that the starter never saw among its validation images, and "
        "compare ways to choose\nthe images that are kept for labelling. The baseline is measured with the "
        "training images. Takes some minutes,\nand needs the datasets in SPARSIGHT_DATA.",
        epilog="example:\n  SPARSIGHT_DATA=data .venv/bin/python -m tests.novel",
    )
    parser.add_argument("--repository", type=Path, default=_ROOT / "model_repository")
    parser.add_argument(
        "--share", type=float, default=0.05, help="share of planted images (default: %(default)s)"
    )
    parser.add_argument("--streams", type=int, default=1000, help="bootstrap draws (default: %(default)s)")
    parser.add_argument(
        "--folders", type=int, default=20, help="streams into a folder (default: %(default)s)"
    )
    parser.add_argument("--seed", type=int, default=0, help="(default: %(default)s)")
    return parser


if __name__ == "__main__":
    sys.exit(main())
