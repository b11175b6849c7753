"""Break a running gateway on purpose, and check what callers notice.

    .venv/bin/python -m tests.faults --list
    .venv/bin/python -m tests.faults --only triton-killed --only memory-short
    .venv/bin/python -m tests.faults

Every fault has a gateway of its own, in a process of its own, and where it is needed a real Triton. The
command prints a row for each fault. It ends with exit code 1 if callers saw what they should not have seen.
"""

import argparse
import shutil
import sys
import tempfile
import traceback
from collections.abc import Sequence
from pathlib import Path

from tabulate import tabulate

from tests.faults import clients, clock, disk, engine, link, signals
from tests.faults.callers import count
from tests.faults.scene import Fault, Scene
from tests.load.machine import describe_machine

PARTS = (engine, link, disk, clock, clients, signals)
FAULTS: tuple[Fault, ...] = tuple(fault for part in PARTS for fault in part.FAULTS)
HEADS = ("fault", "callers", "may see", "saw", "failed", "disturbed for, s", "well after, s", "verdict")


def main(argv: Sequence[str] | None = None) -> int:
    """Run the faults of the command line, and print the table."""
    args = parser().parse_args(argv)
    if args.list:
        listed = [(one.name, one.what) for one in FAULTS]
        print(tabulate(listed, ("fault", "what happens"), tablefmt="github"))
        return 0
    wanted = [one for one in FAULTS if not args.only or one.name in args.only]
    rows: list[list[str]] = []
    failures = 0
    for number, fault in enumerate(wanted, 1):
        print(f"{number}/{len(wanted)} {fault.name}: {fault.what}", file=sys.stderr, flush=True)
        scene, wrong = take(fault)
        for sentence in wrong:
            print(f"    {sentence}", file=sys.stderr, flush=True)
        failures += bool(wrong)
        rows += describe(fault, scene, wrong)
    print(describe_machine(("openvino", "tritonclient", "grpcio", "uvicorn")) + "\n")
    print(tabulate(rows, HEADS, tablefmt="github", disable_numparse=True))
    print(f"\n{len(wanted) - failures} of {len(wanted)} faults ended as expected")
    return 1 if failures else 0


def parser() -> argparse.ArgumentParser:
    """Return the parser of the command line."""
    made = argparse.ArgumentParser(
        prog="python -m tests.faults",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    made.add_argument("--list", action="store_true", help="only list the faults")
    names = [one.name for one in FAULTS]
    made.add_argument("--only", action="append", choices=names, metavar="NAME", help="run only this fault")
    return made


def take(fault: Fault) -> tuple[Scene, list[str]]:
    """Run one fault; return what happened, and what was not as expected."""
    missing = [name for name in fault.needs if shutil.which(name) is None]
    with tempfile.TemporaryDirectory(prefix="sparsight-fault-") as folder:
        scene = Scene(Path(folder))
        if missing:
            return scene, [f"not run: {', '.join(missing)} is not installed"]
        try:
            fault.run(scene)
        except Exception as error:  # noqa: BLE001  # the other faults are still run
            place = traceback.extract_tb(error.__traceback__)[-1]
            return scene, [f"{type(error).__name__}: {str(error)[:300]} ({place.name}, line {place.lineno})"]
        return scene, scene.judge(fault)


def describe(fault: Fault, scene: Scene, wrong: Sequence[str]) -> list[list[str]]:
    """Return the rows of a fault: one for each kind of callers."""
    rows = []
    for name, expected in fault.expected.items():
        seen = count(scene.seen.get(name, ()))
        rows.append(
            [
                "",
                name,
                ", ".join(sorted(expected)),
                ", ".join(f"{how} × {times}" for how, times in sorted(seen.items())) or "nothing",
                str(sum(times for how, times in seen.items() if how != "200")),
                f"{scene.disturbed_s():.2f}" if name == "others" else "",
                "",
                "",
            ]
        )
    recovery = "" if scene.recovery_s is None else f"{scene.recovery_s:.2f}"
    rows[0][0], rows[0][-2], rows[0][-1] = fault.name, recovery, "; ".join(wrong) or "as expected"
    return rows


if __name__ == "__main__":
    sys.exit(main())
