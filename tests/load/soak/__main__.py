"""Sends many requests of all kinds to a service, and measures whether it grows: `python -m tests.load.soak`.

    .venv/bin/python -m tests.load.soak --requests 200000

The script starts the service in a process of its own, with the starter and with small models of every
task. Callers send images of many sizes and formats in every form, ask for every answer and for pages, make
every mistake, are slow, get stuck and hang up. After each part of the requests, everybody hangs up; the
script waits until the service is at rest, and reads its memory, threads and descriptors. In the middle of
each part, many callers come at the same moment, and a version of a model appears or goes.

With --test-triton, the tritonserver of the tests runs the starter and two of the small models, and images go
through shared memory. After every fifth part, Triton is killed and started again.

The script prints how much memory the service gains for each 100,000 requests after the warm-up, and what
grew. It writes samples.jsonl, soak.png and the service's log into a folder. It needs Linux's /proc.
"""

import argparse
import sys
from collections.abc import Sequence
from contextlib import nullcontext
from pathlib import Path
from tempfile import TemporaryDirectory

import uvloop

from tests.load.machine import describe_machine
from tests.load.soak import plot
from tests.load.soak.callers import Answers
from tests.load.soak.growth import LIMIT_MB, PER, faults, growth_of, warm
from tests.load.soak.run import IN_TRITON, Soak, build_place, running
from tests.load.soak.samples import Sample
from tests.triton_server import start_triton, why_no_triton

SERVICE = (sys.executable, "-m", "tests.load.soak.service")


def main(argv: Sequence[str] | None = None, service: Sequence[str] = SERVICE) -> int:
    """Run the soak of the command line; return 0 if nothing grew and every answer was expected.

    Args:
        argv: flags; None takes those of the command line.
        service: the command that starts the service.
    """
    args = _parser().parse_args(argv)
    if args.test_triton and (reason := why_no_triton()):
        raise SystemExit(reason)
    with TemporaryDirectory() as scratch:
        place = build_place(Path(scratch), args.folder)
        server = start_triton(place.repository, load=IN_TRITON) if args.test_triton else nullcontext()
        with server as triton, running(service, place, triton) as (process, port):
            soak = Soak(process.pid, port, place, triton)
            uvloop.run(soak.run(args.requests, args.every, args.callers))
    report(soak.samples, soak.answers, args.folder)
    found = faults(soak.samples, args.limit_mb) + strange(soak.answers, args.folder / "service.log")
    print("verdict: " + ("; ".join(found) or "nothing grew, and every answer was expected"))
    return 1 if found else 0


def report(samples: Sequence[Sample], answers: Answers, folder: Path) -> None:
    """Print the answers and the growth, and draw the samples."""
    (folder / "soak.png").write_bytes(plot.draw(samples))
    last, after = samples[-1], warm(samples)
    statuses = ", ".join(f"{count} x {status}" for status, count in sorted(answers.by_status.items()))
    print(f"{describe_machine()}; {last.requests} requests in {last.seconds / 60:.1f} min")
    print(f"answers by status: {statuses}")
    never = sorted(set(answers.by_name) - set(answers.good_by_name))
    print(f"{len(answers.by_name)} kinds of requests; never answered with 200: {', '.join(never)}\n")
    print(f"| at rest | first after the warm-up | last | each {PER} requests (95 %) |\n|---|---|---|---|")
    for name in ("used_mb", "blocks", "own_mb", "rss_mb", "pss_mb", "peak_mb", "triton_mb"):
        values = [getattr(sample, name) for sample in after]
        if any(values):
            growth = growth_of([sample.requests for sample in after], values)
            print(f"| {name} | {values[0]:.1f} | {values[-1]:.1f} | {growth} |")
    for name in ("threads", "descriptors", "shared_files", "temporary_files", "series"):
        print(f"| {name} | {getattr(after[0], name)} | {getattr(last, name)} | |")


def strange(answers: Answers, log: Path) -> list[str]:
    """Return a sentence for answers that were not expected, and for exceptions in the service's log."""
    found = []
    if answers.strange_count:
        first = "; ".join(answers.strange[:5])
        found.append(f"{answers.strange_count} answers were not expected, such as {first}")
    if (exceptions := log.read_text(errors="replace").count("Traceback")) > 0:
        found.append(f"the service logged {exceptions} exceptions; see {log}")
    return found


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        "python -m tests.load.soak",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    add = parser.add_argument
    add("--requests", type=int, default=200_000, help="how many requests in all (default: %(default)s)")
    add("--every", type=int, default=2000, help="how many requests a part has (default: %(default)s)")
    add("--callers", type=int, default=12, help="how many callers at the same time (default: %(default)s)")
    add(
        "--limit-mb",
        type=float,
        default=LIMIT_MB,
        help=f"most growth for each {PER} requests (default: %(default)s)",
    )
    add("--test-triton", action="store_true", help="let the tritonserver of the tests run models")
    add(
        "--folder", type=Path, default=Path("runs/soak"), help="folder for the results (default: %(default)s)"
    )
    return parser


if __name__ == "__main__":
    sys.exit(main())
