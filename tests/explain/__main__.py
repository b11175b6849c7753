"""Measure whether the maps of `explain=route` name the regions that moved a router.

    SPARSIGHT_DATA=data .venv/bin/python -m tests.explain --images 15 --processes 2

The command takes held-out images of the three datasets of the starter. For each mixture layer, it makes the
map of the layer's most probable expert, and hides the cells with the largest effects first. If the map is
right, the log-odds of the expert fall faster than with other orders of the cells. The command prints by how
much they fall, as the mean over hidden shares of 5 to 70 %, and the difference to each other order, with a
95 % interval from a paired bootstrap over the images.

The rule, which was written before the held-out images were used: the service offers the explanation only if
its maps beat random cells, local variance, edges and the middle of the image, each with an interval above
zero, in at least 4 of the 5 layers. This must hold when cells are filled with the mean colour, as the service
does, and also when they are filled with grey, which the maps were not made with. The command returns 1 if the
rule is not met.
"""

import argparse
import sys
from concurrent.futures import ProcessPoolExecutor
from functools import partial
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from service.artifact.repository import read_artifact
from tests.explain.candidates import BASELINES, FILLS, Probe, of_the_service
from tests.explain.curves import OTHER_IMAGE, OTHER_LAYER, OURS, Measured, measure
from tests.explain.images import DATASETS, Router, open_samples
from tests.load.machine import describe_machine

ARTIFACT = Path(__file__).resolve().parents[2] / "model_repository" / "starter-openvino" / "1"
_RESAMPLES = 10_000


def main() -> int:
    """Measure, print the tables, and return 1 if the rule is not met."""
    parser = argparse.ArgumentParser(
        "python -m tests.explain", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument(
        "--images", type=int, default=15, help="images of each dataset (default: %(default)s)"
    )
    parser.add_argument(
        "--cells", type=int, default=8, help="cells along the longer side (default: %(default)s)"
    )
    parser.add_argument(
        "--processes", type=int, default=1, help="processes, with one thread each (default: %(default)s)"
    )
    args = parser.parse_args()
    if args.images < 2:
        parser.error("--images must be at least 2, because maps of two images are compared")
    with ProcessPoolExecutor(args.processes) as pool:
        parts = pool.map(partial(measure_dataset, args.images, args.cells), DATASETS)
        measured = [one for part in parts for one in part]
    layers = [layer.layer for layer in read_artifact(ARTIFACT).manifest.mixture]
    print(describe_machine(("openvino", "numpy"), also=f"{args.processes} processes with one thread"))
    print(
        f"{len(measured)} held-out images, {args.images} of each dataset; {args.cells} cells along a side\n"
    )
    for fill in FILLS:
        print(f"Deletion, cells filled with {fill}: mean fall of the log-odds, higher is better\n")
        print_table([one.deletion[fill] for one in measured], layers)
    print("Insertion, cells filled with mean: mean rise of the log-odds, higher is better\n")
    print_table([one.insertion for one in measured], layers)
    print("Share of images in which another expert comes first when a quarter of the cells is hidden\n")
    print_table([one.expert_changes for one in measured], layers)
    print_row("correlation of two maps", np.array([one.stability for one in measured]))
    won = {fill: layers_won([one.deletion[fill] for one in measured]) for fill in FILLS}
    print("\nLayers in which the map beats every other order of the rule: ", end="")
    print(", ".join(f"{count} of {len(layers)} with {fill}" for fill, count in won.items()))
    return 0 if all(count >= 0.8 * len(layers) for count in won.values()) else 1


def measure_dataset(count: int, cells: int, dataset: str) -> list[Measured]:
    """Return the curves of `count` images of a dataset."""
    router = Router(read_artifact(ARTIFACT))
    samples = open_samples(router.manifest, count, dataset, held_out=True)
    another = of_the_service(Probe(router, samples[-1], cells))
    found = []
    for sample in samples:
        found.append(measure(Probe(router, sample, cells), another))
        another = found[-1].effects
    return found


def layers_won(tables: list[dict[str, NDArray[np.float64]]]) -> int:
    """Return in how many layers the service's maps beat every baseline, with an interval above zero."""
    lower = [interval(differences(tables, name))[0] for name in BASELINES]  # (layers,) for each baseline
    return int((np.min(lower, axis=0) > 0).sum())


def differences(tables: list[dict[str, NDArray[np.float64]]], name: str) -> NDArray[np.float64]:
    """Return for each image and layer how much better the service's map is than another, (images, layers)."""
    return np.array([table[OURS] - table[name] for table in tables])


def interval(values: NDArray[np.float64]) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Return the ends of the 95 % interval of the mean over the images, each (layers,)."""
    rng = np.random.default_rng(0)
    picked = rng.integers(len(values), size=(_RESAMPLES, len(values)))
    low, high = np.percentile(values[picked].mean(axis=1), (2.5, 97.5), axis=0)
    return low, high


def print_table(tables: list[dict[str, NDArray[np.float64]]], layers: list[str]) -> None:
    """Print the mean of each order of the cells, and the differences to the service's map."""
    print("| order of the cells | " + " | ".join(layers) + " |")
    print("|---" * (len(layers) + 1) + "|")
    names = [name for name in (OURS, *BASELINES, OTHER_IMAGE, OTHER_LAYER) if name in tables[0]]
    for name in names:
        print_row(name, np.array([table[name] for table in tables]))
    for name in names[1:]:
        low, high = interval(found := differences(tables, name))
        cells = (
            f"{m:+.2f} ({a:+.2f} to {b:+.2f})" for m, a, b in zip(found.mean(axis=0), low, high, strict=True)
        )
        print(f"| better than {name} | " + " | ".join(cells) + " |")
    print()


def print_row(name: str, values: NDArray[np.float64]) -> None:
    """Print the means over the images."""
    print(f"| {name} | " + " | ".join(f"{value:.2f}" for value in np.nanmean(values, axis=0)) + " |")


if __name__ == "__main__":
    sys.exit(main())
