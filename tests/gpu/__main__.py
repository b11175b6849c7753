"""Run all measurements on a machine with a GPU, one part after another, each with a time limit.

This module imports only the standard library. It first unpacks the packages that the machine lacks, and then
starts the parts, which need these packages.
"""

import argparse
import os
import signal
import sys
import tempfile
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from tests.gpu.limits import run_limited
from tests.gpu.results import RESULTS_FILE, SUMMARY_FILE, Results, say
from tests.gpu.wheels import WheelMissing, unpack_lacking

ROOT = Path(__file__).resolve().parents[2]
HERE = Path(__file__).resolve().parent
LOG_FILE = "log.txt"
LOG_TAIL = 2000  # characters of the log that are shown if a part fails


@dataclass(frozen=True)
class Part:
    """One part of the run: the module `tests.gpu.<name>`."""

    name: str
    seconds: float  # time limit, which TOTAL_S may shorten
    spare_s: float = 3.0  # the part is asked to end this long before its limit


TOTAL_S = 525.0  # under nine minutes, even if the last part uses its grace time
PARTS = (Part("smoke", 75), Part("train", 360, spare_s=15), Part("latency", TOTAL_S, spare_s=10))
SMALLEST_TOTAL_S = 150.0
SMALLEST_PARTS = (
    Part("smoke", 60),
    Part("train", 45, spare_s=15),
    Part("latency", SMALLEST_TOTAL_S, spare_s=20),
)


def main(argv: Sequence[str] | None = None) -> int:
    """Run the parts; return 0 if all succeeded, 1 if one failed, 2 if none could begin."""
    signal.signal(
        signal.SIGTERM, lambda *_: sys.exit(143)
    )  # an exception, so that the running part is ended too
    args = parser().parse_args(argv)
    args.results.mkdir(parents=True, exist_ok=True)
    if (args.results / RESULTS_FILE).exists():
        say(f"{args.results} holds the results of another run; move them, or give --results another folder")
        return 2
    names = args.only or [part.name for part in PARTS]
    parts = [part for part in (SMALLEST_PARTS if args.smallest else PARTS) if part.name in names]
    end_s = time.monotonic() + (args.total_s or (SMALLEST_TOTAL_S if args.smallest else TOTAL_S))
    with tempfile.TemporaryDirectory() as folder:
        try:
            unpacked = unpack_lacking(args.packed / "wheels", Path(folder))
        except WheelMissing as error:
            say(str(error))
            return 2
        say(f"taken from wheels: {', '.join(unpacked) or 'nothing'}")
        environment = environment_of_parts(Path(folder), args.device)
        ended_well = [run_part(part, end_s, args, environment) for part in parts]
    say(f"\nresults are in {args.results}\n" + (args.results / SUMMARY_FILE).read_text(encoding="utf-8"))
    return 0 if all(ended_well) else 1


def parser() -> argparse.ArgumentParser:
    """Return the parser of the command line."""
    known = argparse.ArgumentParser(prog="tests/gpu/run.sh", description=__doc__)
    out = os.environ.get("OUT")
    known.add_argument("--device", choices=("cuda", "cpu"), default="cuda")
    known.add_argument(
        "--smallest", action="store_true", help="run every part at its smallest, in two minutes"
    )
    known.add_argument(
        "--only",
        action="append",
        choices=[part.name for part in PARTS],
        help="run only this part; repeat for several parts",
    )
    known.add_argument("--batch", type=int, help="images per training step; default: the recipe's")
    known.add_argument("--total-s", type=float, help="seconds for all parts together")
    known.add_argument("--packed", type=Path, default=HERE / "packed")
    known.add_argument("--results", type=Path, default=Path(out) if out else HERE / "results")
    return known


def environment_of_parts(unpacked: Path, device: str) -> dict[str, str]:
    """Return the environment of the parts: import paths of this tree and the packages; no GPU for `cpu`."""
    environment = {**os.environ, "PYTHONUNBUFFERED": "1", "PYTHONPATH": f"{ROOT}{os.pathsep}{unpacked}"}
    if device == "cpu":
        environment["CUDA_VISIBLE_DEVICES"] = ""
    return environment


def run_part(part: Part, end_s: float, args: argparse.Namespace, environment: Mapping[str, str]) -> bool:
    """Run one part; return whether it ended in time and all its checks passed."""
    results = Results(args.results, part.name)
    seconds = min(part.seconds, end_s - time.monotonic())
    if seconds <= part.spare_s:
        results.record("part", "skipped", why="no time left")
        return False
    flags = ["--results", args.results, "--packed", args.packed, "--device", args.device]
    flags += ["--seconds", seconds - part.spare_s] + (["--smallest"] if args.smallest else [])
    flags += ["--batch", args.batch] if args.batch else []
    command = [sys.executable, "-m", f"tests.gpu.{part.name}", *map(str, flags)]
    log = args.results / LOG_FILE
    ended = run_limited(command, seconds, log, environment)
    well = ended.how == "done" and ended.code == 0
    results.record(
        "part", "passed" if well else "failed", how=ended.how, code=ended.code, seconds=ended.seconds
    )
    if not well:
        say(log.read_text(encoding="utf-8", errors="replace")[-LOG_TAIL:])
    return well


if __name__ == "__main__":
    raise SystemExit(main())
