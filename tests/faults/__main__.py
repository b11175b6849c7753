"""Break a running gateway on purpose, and check what callers notice.

    .venv/bin/python -m tests.faults --list
    .venv/bin/python -m tests.faults --only triton-killed --only memory-short
    .venv/bin/python -m tests.faults
    .venv/bin/python -m tests.faults restarts --count 100
    .venv/bin/python -m tests.faults swaps --count 100

Every fault has a gateway of its own, in a process of its own, and where it is needed a real Triton. The
command prints a row for each fault. It ends with exit code 1 if callers saw what they should not have seen.
"""

import argparse
import shutil
import statistics
import sys
import tempfile
import traceback
from collections.abc import Mapping, Sequence
from pathlib import Path

from tabulate import tabulate

from tests.faults import clients, clock, disk, engine, limits, link, signals
from tests.faults.callers import OK, count
from tests.faults.restarts import restart_often
from tests.faults.scene import Fault, Scene
from tests.faults.swaps import swap_in_process, swap_in_triton
from tests.load.machine import describe_machine

PARTS = (engine, link, disk, clock, limits, clients, signals)
FAULTS: tuple[Fault, ...] = tuple(fault for part in PARTS for fault in part.FAULTS)
REPEATED = {
    "restarts": {"rolling restarts": restart_often},
    "swaps": {"in the process, by SIGHUP": swap_in_process, "in Triton": swap_in_triton},
}
HEADS = ("fault", "callers", "may see", "saw", "failed", "disturbed for, s", "well after, s", "verdict")


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command line, and return its exit code."""
    args = parser().parse_args(argv)
    if args.list:
        listed = [(one.name, one.what) for one in FAULTS]
        print(tabulate(listed, ("fault", "what happens"), tablefmt="github"))
        return 0
    if args.command is not None:
        return repeat(args.command, args.count)
    return break_all([one for one in FAULTS if not args.only or one.name in args.only])


def break_all(wanted: Sequence[Fault]) -> int:
    """Run faults, and print their table."""
    rows: list[list[str]] = []
    failures = 0
    for number, fault in enumerate(wanted, 1):
        print(f"{number}/{len(wanted)} {fault.name}: {fault.what}", file=sys.stderr, flush=True)
        scene, wrong = take(fault)
        for sentence in wrong:
            print(f"    {sentence}", file=sys.stderr, flush=True)
        failures += bool(wrong)
        rows += describe(fault, scene, wrong)
    print(machine() + "\n")
    print(tabulate(rows, HEADS, tablefmt="github", disable_numparse=True))
    print(f"\n{len(wanted) - failures} of {len(wanted)} faults ended as expected")
    return 1 if failures else 0


def repeat(command: str, times: int) -> int:
    """Restart or swap again and again; print a table, and return 1 if a request failed."""
    rows, failed = [], 0
    for what, run in REPEATED[command].items():
        with tempfile.TemporaryDirectory(prefix="sparsight-fault-") as folder:
            outcome = run(Path(folder), times)
        seen, took_s = count(outcome.seen), sorted(outcome.took_s)
        failures = sum(times for how, times in seen.items() if how != OK)
        failed += failures
        slowest_ms = 1000 * max(one.took_s for one in outcome.seen)
        spread = f"{statistics.median(took_s):.2f} ({took_s[0]:.2f} to {took_s[-1]:.2f})"
        rows.append((what, times, spread, sum(seen.values()), failures, show(seen), f"{slowest_ms:.0f}"))
    heads = ("what", "times", "s each", "requests", "failed", "saw", "slowest answer, ms")
    print(machine() + "\n")
    print(tabulate(rows, heads, tablefmt="github", disable_numparse=True))
    return 1 if failed else 0


def machine() -> str:
    """Return a line about the machine and the versions."""
    return describe_machine(("openvino", "tritonclient", "grpcio", "uvicorn"))


def show(seen: Mapping[str, int]) -> str:
    """Return how requests ended, as text."""
    return ", ".join(f"{how} × {times}" for how, times in sorted(seen.items())) or "nothing"


def parser() -> argparse.ArgumentParser:
    """Return the parser of the command line."""
    made = argparse.ArgumentParser(
        prog="python -m tests.faults",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    made.add_argument("--list", action="store_true", help="only list the faults")
    names = [one.name for one in FAULTS]
    made.add_argument(
        "--only",
        action="append",
        choices=names,
        metavar="NAME",
        help="run only this fault; may be given several times",
    )
    commands = made.add_subparsers(dest="command", metavar="COMMAND")
    for name, what in (
        ("restarts", "restart two gateways in turns behind HAProxy, under load"),
        ("swaps", "swap versions of a model under load, in the process and in Triton"),
    ):
        command = commands.add_parser(name, help=what)
        command.add_argument("--count", type=int, default=100, help="how often (default: %(default)s)")
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
                show(seen),
                str(sum(times for how, times in seen.items() if how != OK)),
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
