"""Measure how soon the service notices defects of a pipeline and unfamiliar images; count false alarms.

    SPARSIGHT_DATA=FOLDER .venv/bin/python -m tests.drift

The script routes images with the starter: its training images are the baseline, and streams are drawn from
its validation images, which the training never saw. Each validation image is also changed as a defect of the
pipeline, or night or fog, would change it. Streams of images of other data sets are measured, too. Beside the
service's detector, the same test watches figures that need no experts: confidence, number of objects,
brightness. Then the script counts false alarms in streams without any change. FOLDER holds `bccd`, `aquarium`
and `playing_cards`, and for other domains `coco_train2017_sample`, `nuclei`, `trash` and `mouse_pose`.
"""

import argparse
import asyncio
import os
import sys
from collections import Counter
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from tqdm import tqdm

from service.routing.reference import Layers
from tests.drift.false_alarms import bootstrap, count, simulation
from tests.drift.harm import measure_harm
from tests.drift.routed import Routed, load, running, save, shifted
from tests.drift.shifts import DEFECTS, MILD, MOVING, SHIFTS
from tests.drift.streams import detectors
from tests.drift.table import as_text, measure
from tests.load.machine import describe_machine
from training.data.combined import CombinedDataset
from training.data.open import open_dataset
from training.data.sample import Dataset
from training.recipes.recipe_data import starter_data

ROOT = Path(__file__).resolve().parents[2]
DOMAINS = {
    "everyday photos": "coco_train2017_sample/train2017/*",
    "stained nuclei": "nuclei/images/*/*",
    "waste on a table": "trash/val/*/*",
    "mice from above": "mouse_pose/images/*/*",
}
BASELINE, UNCHANGED = "training images", "unchanged"
MOST_OF_A_DOMAIN = 150
GOAL, MOST_FALSE = 0.95, 1e-6


def main() -> int:
    """Route the images, or read them, and print the tables; return 1 if a goal is missed."""
    parser = argparse.ArgumentParser(
        "python -m tests.drift", None, __doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--repository", type=Path, default=ROOT / "model_repository")
    parser.add_argument(
        "--routed", type=Path, help="keep the routed images in this .npz; read them if it exists"
    )
    parser.add_argument("--most", type=int, help="images of each group (default: all)")
    parser.add_argument("--streams", type=int, default=50, help="of each group (default: %(default)s)")
    parser.add_argument("--length", type=int, default=500, help="of a stream (default: %(default)s)")
    parser.add_argument(
        "--false-alarms", type=int, default=1_000_000, metavar="N", help="images of each kind of stream "
        "without change (default: %(default)s)",
    )  # fmt: skip
    parser.add_argument("--harm", action="store_true", help="instead, print the mAP of shifted images")
    args = parser.parse_args()
    data = os.environ.get("SPARSIGHT_DATA")
    if not data:
        parser.error("set SPARSIGHT_DATA to the folder of the data sets")
    if args.harm:
        return _print_harm(args.repository / "starter-openvino" / "1", Path(data))
    groups, layers = asyncio.run(_groups(args, Path(data)))
    baseline, unchanged = groups[BASELINE], groups[UNCHANGED]
    print(describe_machine(("openvino", "numpy"), "one seed of the starter"))
    print(f"baseline: {len(baseline)} training images; {args.streams} streams of {args.length} images each")
    missed = _notices(args, groups, layers)
    for kind in (bootstrap, simulation) if args.false_alarms else ():
        found = count(kind, baseline.joined(unchanged), layers, len(baseline), args.false_alarms)
        print(f"false alarms, {kind.__name__}: {found.alarms} in {found.images:,} images")
        missed |= found.alarms > max(1, MOST_FALSE * found.images)
    return int(missed)


def _print_harm(artifact: Path, data: Path) -> int:
    still = {name: each for name, each in {**DEFECTS, **SHIFTS, **MILD}.items() if name not in MOVING}
    print("| images | mAP50-95 |", "|---|---|", sep="\n")
    for name, score in measure_harm(artifact, open_dataset(starter_data(data).val), still):
        print(f"| {name} | {score:.4f} |", flush=True)
    return 0


async def _groups(args: argparse.Namespace, data: Path) -> tuple[dict[str, Routed], Layers]:
    """Return the routed images of every group, from the file of an earlier run if there is one."""
    async with running(args.repository, "starter") as runner:
        if args.routed and args.routed.exists():
            return load(args.routed), runner.layers
        splits = starter_data(data)
        training, unchanged = (_files(open_dataset(split), args.most) for split in splits)
        groups = {BASELINE: training, UNCHANGED: unchanged}
        routed = {}
        for name, files in tqdm(groups.items(), "groups", leave=False):
            routed[name] = await runner.run(files)
        for name, shift in tqdm({**DEFECTS, **SHIFTS, **MILD}.items(), "shifts", leave=False):
            routed[name] = await runner.run(shifted(unchanged, shift, 0))
        for name, pattern in DOMAINS.items():
            paths = sorted(data.glob(pattern))[: args.most or MOST_OF_A_DOMAIN]
            routed[name] = await runner.run((-1, path.read_bytes()) for path in paths)
    if args.routed:
        save(args.routed, routed)
    return routed, runner.layers


def _files(dataset: Dataset, most: int | None) -> list[tuple[int, bytes]]:
    """Return image files, evenly spread over a data set, with the number of their part."""
    assert isinstance(dataset, CombinedDataset)
    places = np.linspace(0, len(dataset) - 1, min(most or len(dataset), len(dataset))).round().astype(int)
    return [(dataset.origin_of(int(place)), dataset.encoded(int(place))) for place in places]


def _notices(args: argparse.Namespace, groups: dict[str, Routed], layers: Layers) -> bool:
    """Print what each detector notices; return whether the goal is missed."""
    watching, rng = detectors(groups[BASELINE], layers), np.random.default_rng(0)
    rows = []
    for name in tqdm([name for name in groups if name != BASELINE], "streams", leave=False):
        counts = name != UNCHANGED and name not in MILD
        weights = None if name in DOMAINS else _as_in_training(groups[BASELINE].origin, groups[name].origin)
        rows.append(measure((name, groups[name], counts), watching, weights, args.streams, args.length, rng))
    print(*as_text(rows, list(watching)), sep="\n")
    return bool(np.mean([row.noticed["experts"] for row in rows if row.counts]) < GOAL)


def _as_in_training(training: NDArray[np.int64], validation: NDArray[np.int64]) -> NDArray[np.float64]:
    """Return the probability of each validation image, so that streams have the baseline's mix of origins."""
    wanted, there = Counter(training.tolist()), Counter(validation.tolist())
    weights = np.array([wanted[origin] / there[origin] for origin in validation.tolist()])
    return weights / weights.sum()


if __name__ == "__main__":
    sys.exit(main())
