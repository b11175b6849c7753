"""Measures what tracing costs: `python -m tests.load.telemetry`.

    .venv/bin/python -m tests.load.telemetry --rounds 10 --seconds 4
    .venv/bin/python -m tests.load.telemetry --before HEAD~3 --also SPARSIGHT_LOG_FORMAT=json
    .venv/bin/python -m tests.load.telemetry --before HEAD~3 --untraced --copies 3

Services of this build run side by side: one without tracing, and one for each share of traced requests. They
get requests in turns, in another order in each round. A collector of this script takes the spans and drops
them. Each figure is compared with the figure without tracing in the same round, so that other programs on the
machine change both. The processor time is that of the service's process alone, from the scheduler's count of
nanoseconds. The processor time of the event loop's thread is also shown separately. This thread does
everything that watches answers, but not the inference, whose time varies far more on a busy machine. Two
processes of the same build can differ by two per cent all through a run. To see smaller differences, run
several processes of each service with `--copies`: their mean counts in each round. With `--tiny`, the model
is the tests' tiny one. The ratios are then much larger than in practice, but the microseconds of a traced
request are easiest to see. The script needs Linux's /proc.
"""

import argparse
import statistics
import sys
import tempfile
from collections.abc import Iterator, Sequence
from dataclasses import astuple, dataclass, replace
from pathlib import Path

import numpy as np

from tests.builders import build_artifact, golden_image, image_bytes
from tests.load.callers import measure
from tests.load.gateway import print_table
from tests.load.machine import describe_machine
from tests.load.services import STARTER, Service, build_of, running, this_build
from tests.load.side_by_side import spread
from tests.tracing.receiver import Receiver, receive_spans

OFF = "off"
SHARES = ("0.01", "0.1", "1")


@dataclass(frozen=True)
class Cost:
    """What the requests of a round cost on average."""

    rate: float  # requests/s
    cpu_ms: float  # of one request
    loop_ms: float  # of it, in the thread of the event loop


Costs = dict[str, list[Cost]]  # of each round, by service


def main(argv: Sequence[str] | None = None) -> int:
    """Measure and print the table."""
    args = parser().parse_args(argv)
    if args.smallest:
        args.rounds, args.seconds, args.tiny = 2, 0.5, True
    with tempfile.TemporaryDirectory() as scratch, receive_spans(keep=False) as receiver:
        artifact, image = model_and_image(Path(scratch), tiny=args.tiny)
        services: list[Service] = []
        for number in range(args.copies):
            folder = Path(scratch) / f"before {number}"
            services += services_for(args, artifact, str(image), folder, receiver)
        with running(services):
            costs = measure_costs(args, services, str(image))
    print(describe_machine(("openvino", "opentelemetry-sdk", "prometheus-client"), also="no Triton"))
    model = "tiny detector" if args.tiny else "starter"
    each = f"{args.rounds} rounds of {args.seconds:g} s, in turns; processes of each service: {args.copies}"
    print(f"{each}; {args.callers} callers; {model}\n")
    print_table("cost of tracing", rows(costs))
    return 0


def parser() -> argparse.ArgumentParser:
    """Return the parser of the command line."""
    made = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    add = made.add_argument
    add("--before", metavar="COMMIT", help="also measure the service of this commit")
    add("--also", nargs="*", default=[], metavar="SPARSIGHT_NAME=VALUE", help="also measure with a setting")
    add("--untraced", action="store_true", help="leave out the services that trace")
    add("--copies", type=int, default=1, help="processes of each service (default: %(default)s)")
    add("--callers", type=int, default=4, help="at the same time (default: %(default)s)")
    add("--rounds", type=int, default=8, help="of each, in turns (default: %(default)s)")
    add("--seconds", type=float, default=3.0, help="of each round (default: %(default)s)")
    add("--tiny", action="store_true", help="with the tests' tiny detector instead of the starter")
    add("--smallest", action="store_true", help="only show that it works; the figures mean nothing")
    return made


def model_and_image(scratch: Path, *, tiny: bool) -> tuple[Path, Path]:
    """Return the folder of a model, and a JPEG on which it finds something."""
    image = scratch / "image.jpg"
    if tiny:
        artifact = build_artifact(scratch / "repository").folder
        image.write_bytes(image_bytes(golden_image(), "JPEG"))
        return artifact, image
    with np.load(STARTER / "golden.npz") as golden:
        image.write_bytes(image_bytes(golden["image"], "JPEG"))
    return STARTER, image


def services_for(
    args: argparse.Namespace, artifact: Path, image: str, folder: Path, receiver: Receiver
) -> Iterator[Service]:
    """Yield the services to measure; an older build is unpacked into a new folder."""
    patience = {"SPARSIGHT_MAX_QUEUE_S": "600"}  # so that no caller is refused
    yield replace(this_build(image, patience, artifact), name=OFF)
    for share in () if args.untraced else SHARES:
        tracing = {
            "SPARSIGHT_TRACING": "true",
            "OTEL_EXPORTER_OTLP_ENDPOINT": receiver.endpoint,
            "OTEL_TRACES_SAMPLER": "parentbased_traceidratio",
            "OTEL_TRACES_SAMPLER_ARG": share,
            "NO_PROXY": "127.0.0.1",
        }
        yield replace(this_build(image, patience | tracing, artifact), name=f"{float(share):.0%} traced")
    for setting in args.also:
        changed = dict([setting.split("=", 1)])
        yield replace(this_build(image, patience | changed, artifact), name=setting)
    if args.before:
        folder.mkdir()
        yield build_of(args.before, folder, image, artifact)


def measure_costs(args: argparse.Namespace, services: Sequence[Service], image: str) -> Costs:
    """Return the costs of every round, each the mean over the copies of a service.

    Each round has another order.
    """
    costs: Costs = {service.name: [] for service in services}
    for number in range(args.rounds):
        first, found = number % len(services), dict[str, list[Cost]]()
        for service in (*services[first:], *services[:first]):
            cost = cost_of(service, image, args.callers, args.seconds)
            found.setdefault(service.name, []).append(cost)
            print(f"round {number + 1}, {service.name}: {cost.cpu_ms:.3f} ms", file=sys.stderr)
        for name, copies in found.items():
            figures = zip(*map(astuple, copies), strict=True)
            costs[name].append(Cost(*map(statistics.fmean, figures)))
    return costs


def cost_of(service: Service, image: str, callers: int, seconds: float) -> Cost:
    """Return what a request costs a service on average, with this number of callers in a closed loop.

    Raises:
        RuntimeError: the service did not answer all requests with 200.
    """
    assert service.process is not None
    pid = service.process.pid
    before, loop_before = processor_s(pid), processor_s(pid, str(pid))
    report = measure(service.load((image,), callers=callers, seconds=seconds, before_s=0.0, deadline_s=0.0))
    spent, in_loop = processor_s(pid) - before, processor_s(pid, str(pid)) - loop_before
    if set(report.statuses) != {200}:
        raise RuntimeError(f"{service.name} did not answer all: {report.statuses}")
    return Cost(report.rate, spent / report.sent * 1e3, in_loop / report.sent * 1e3)


def processor_s(pid: int, thread: str = "*") -> float:
    """Return the processor time of a process so far, over all threads that live, or of one thread."""
    times = (path.read_text().split()[0] for path in Path(f"/proc/{pid}/task").glob(f"{thread}/schedstat"))
    return sum(map(int, times)) / 1e9


def rows(costs: Costs) -> Iterator[dict[str, str]]:
    """Yield the rows of the table: medians over the rounds, with the lowest and highest in brackets."""
    base = costs[OFF]
    for name, rounds in costs.items():
        pairs = list(zip(rounds, base, strict=True))
        yield {
            "service": name,
            "CPU, ms": spread([cost.cpu_ms for cost in rounds], 3),
            "ratio of CPU": spread([cost.cpu_ms / off.cpu_ms for cost, off in pairs], 3),
            "more CPU, µs": spread([(cost.cpu_ms - off.cpu_ms) * 1e3 for cost, off in pairs], 0),
            "event loop, ms": spread([cost.loop_ms for cost in rounds], 3),
            "more in it, µs": spread([(cost.loop_ms - off.loop_ms) * 1e3 for cost, off in pairs], 0),
            "requests/s": f"{statistics.median(cost.rate for cost in rounds):.1f}",
            "ratio of requests/s": spread([cost.rate / off.rate for cost, off in pairs], 3),
        }


if __name__ == "__main__":
    sys.exit(main())
