"""The settings of a part, from its command line."""

import argparse
import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import torch

from tests.gpu.results import Skipped


@dataclass(frozen=True)
class Given:
    """The settings of one part of the GPU run."""

    results: Path
    packed: Path
    seconds: float  # the part should end within this time
    smallest: bool  # use little data, only to show that every line runs
    batch: int | None  # images per training step; None: the recipe's
    device: torch.device


def read_given(argv: Sequence[str] | None = None) -> Given:
    """Return the settings of a part, parsed from its command line.

    Raises:
        SystemExit: the device is a GPU and there is none.
    """
    parser = argparse.ArgumentParser()
    parser.add_argument("--results", type=Path, required=True)
    parser.add_argument("--packed", type=Path, required=True)
    parser.add_argument("--seconds", type=float, required=True)
    parser.add_argument("--smallest", action="store_true")
    parser.add_argument("--batch", type=int)
    parser.add_argument("--device", choices=("cuda", "cpu"), required=True)
    given = parser.parse_args(argv)
    if given.device == "cuda" and not torch.cuda.is_available():
        raise SystemExit("torch sees no GPU; say --device cpu for a trial without one")
    return Given(**{**vars(given), "device": torch.device(given.device)})


def need_gpu(device: torch.device, what: str) -> None:
    """Raise Skipped if the device is no GPU; `what` names the check that needs one."""
    if device.type != "cuda":
        raise Skipped(f"{what}: for GPUs")


def cores() -> int:
    """Return the number of processors that this process may use."""
    return len(os.sched_getaffinity(0))
