"""Measures what audits cost: `python -m tests.load.audit`.

    .venv/bin/python -m training export starter --name starter --target onnx --repository /tmp/exports
    .venv/bin/python -m tests.load.audit --reference /tmp/exports/starter-onnx/1

The script sends requests to two services of this build, in turns: one without audits, and one that audits a
share of its answers. It compares throughput and processor time of a request. Without --reference, the
reference is a copy of the served artifact. If other programs use the machine, trust only the processor time.
It writes no file, and needs Linux's /proc.
"""

import argparse
import re
import shutil
import sys
import tempfile
import time
import urllib.request
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from tests.load.costs import processor_s, sample_jpeg
from tests.load.machine import describe_machine
from tests.load.services import STARTER, Service, running, this_build
from tests.load.side_by_side import spread

OUTCOMES = re.compile(r'sparsight_audited_images_total\{.*?outcome="(\w+)".*?\} (\S+)')
WARM_S = 60.0


@dataclass(frozen=True)
class Round:
    """What one service did in one round."""

    rate: float  # images/s
    cpu_ms: float  # of one request, with its share of the audits
    requests: int
    audited: int
    skipped: int


def main(argv: Sequence[str] | None = None) -> int:
    """Measure and print the table."""
    args = parser().parse_args(argv)
    if args.smallest:
        args.rounds, args.seconds, args.callers = 1, 1.0, [1]
    with tempfile.TemporaryDirectory() as scratch:
        repository = Path(scratch) / "repository"
        artifact = copied(args.artifact, repository)
        if args.reference:
            copied(args.reference, repository)
        image = Path(scratch) / "image.jpg"
        image.write_bytes(args.image.read_bytes() if args.image else sample_jpeg())
        services = [
            replace(service_with(share, image, artifact), name=name)
            for name, share in (("without audits", 0.0), (f"with {args.share:g}", args.share))
        ]
        with running(services):
            warm_up(services[1], image)
            measured = measure_rounds(args, services, image)
    print(describe_machine(("openvino", "fastapi", "uvicorn"), also=f"share {args.share:g}"))
    reference = args.reference.parent.name if args.reference else "a copy of the artifact"
    print(f"reference: {reference}; {args.rounds} rounds of {args.seconds:g} s, in turns\n")
    print_rows(args, measured)
    return 0


def parser() -> argparse.ArgumentParser:
    """Return the parser of the command line."""
    made = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    add = made.add_argument
    add("--image", type=Path, help="a JPEG to send; default: a generated image")
    add("--artifact", type=Path, default=STARTER, metavar="FOLDER", help="to serve (default: the starter)")
    add("--reference", type=Path, metavar="FOLDER", help="of another export of the same checkpoint")
    add("--share", type=float, default=0.05, help="of the answers that are audited (default: %(default)s)")
    add("--callers", type=int, nargs="+", default=[1, 4], help="at the same time (default: 1 and 4)")
    add("--rounds", type=int, default=7, help="of each, in turns (default: %(default)s)")
    add("--seconds", type=float, default=5.0, help="of each round (default: %(default)s)")
    add("--smallest", action="store_true", help="only show that it works; the figures mean nothing")
    return made


def copied(version: Path, repository: Path) -> Path:
    """Copy the folder of a version into a repository, and return the copy."""
    copy = repository / version.resolve().parent.name / version.resolve().name
    shutil.copytree(version, copy)
    return copy


def service_with(share: float, image: Path, artifact: Path) -> Service:
    """Return this build's service with a share of audits; no caller is refused."""
    settings = {"SPARSIGHT_AUDIT__SHARE": str(share), "SPARSIGHT_MAX_QUEUE_S": "600"}
    return this_build(str(image), settings, artifact)


def audits_of(service: Service) -> dict[str, int]:
    """Return the number of images by the outcome of their audit."""
    with urllib.request.urlopen(f"http://127.0.0.1:{service.port}/metrics", timeout=30) as answer:
        return {outcome: int(float(count)) for outcome, count in OUTCOMES.findall(answer.read().decode())}


def warm_up(service: Service, image: Path) -> None:
    """Load the service until its first audit has ended, because it opens the reference."""
    end = time.monotonic() + WARM_S
    while not audits_of(service)["agrees"]:
        if time.monotonic() > end:
            raise SystemExit(f"no audit agreed within {WARM_S:g} s: {audits_of(service)}")
        service.measure((str(image),), callers=1, seconds=1.0, before_s=0.0, deadline_s=0.5)


def measure_rounds(
    args: argparse.Namespace, services: Sequence[Service], image: Path
) -> dict[tuple[int, str], list[Round]]:
    """Return the rounds by number of callers and service; the order of the services alternates."""
    measured: dict[tuple[int, str], list[Round]] = {}
    for number in range(args.rounds):
        for callers in args.callers:
            for service in services if number % 2 == 0 else reversed(services):
                one = measure_round(service, image, callers, args.seconds)
                measured.setdefault((callers, service.name), []).append(one)
                print(f"round {number + 1}, {callers} callers, {service.name}: {one}", file=sys.stderr)
    return measured


def measure_round(service: Service, image: Path, callers: int, seconds: float) -> Round:
    """Load a service in a closed loop; the processor time includes audits that end after the last answer."""
    assert service.process is not None
    pid, before, before_s = service.process.pid, audits_of(service), processor_s(service.process.pid)
    report = service.measure((str(image),), callers=callers, seconds=seconds, before_s=0.0, deadline_s=0.0)
    if service.process.pid != pid or set(report.statuses) != {200}:
        raise SystemExit(f"{service.name} did not answer all, or was restarted: {report.statuses}")
    after = audits_of(service)
    count = {name: after[name] - before[name] for name in after}
    return Round(
        rate=report.rate,
        cpu_ms=(processor_s(pid) - before_s) / report.sent * 1e3,
        requests=report.sent,
        audited=count["agrees"] + count["disagrees"] + count["failed"],
        skipped=count["skipped"],
    )


def print_rows(args: argparse.Namespace, measured: dict[tuple[int, str], list[Round]]) -> None:
    """Print one row for each service and number of callers, and the ratios of the rounds."""
    print("| callers | service | images/s | CPU of a request, ms | audited | skipped |")
    print("|---:|---|---|---|---:|---:|")
    for (callers, name), rounds in measured.items():
        requests = sum(one.requests for one in rounds)
        audited, skipped = (sum(getattr(one, what) for one in rounds) for what in ("audited", "skipped"))
        cells = [spread([one.rate for one in rounds], 1), spread([one.cpu_ms for one in rounds], 2)]
        shares = f"{audited / requests:.1%} | {skipped / requests:.1%}"
        print(f"| {callers} | {name} | {' | '.join(cells)} | {shares} |")
    print()
    for callers in args.callers:
        plain, audited_rounds = (rounds for (count, _), rounds in measured.items() if count == callers)
        pairs = list(zip(plain, audited_rounds, strict=True))
        rate = spread([two.rate / one.rate for one, two in pairs], 3)
        cpu = spread([two.cpu_ms / one.cpu_ms for one, two in pairs], 3)
        print(f"{callers} callers, with audits / without: throughput {rate}, processor time {cpu}")


if __name__ == "__main__":
    sys.exit(main())
