"""Shows what callers notice when gateways and Tritons are killed, replaced, added and taken away.

    .venv/bin/python -m tests.cluster             # needs haproxy, prometheus and the tests' tritonserver
    sudo .venv/bin/python -m tests.cluster --sum  # also compares three gateways with one, in control groups

Three gateways and two Tritons run as processes of this machine, with the commands and settings of the Helm
chart. A real HAProxy stands for their Services; it sends a request again if a connection fails, which is safe
because POST /detect changes nothing. The callers never try again, so every request that is not answered with
200 counts as failed. Triton waits in every inference as if a GPU worked.

A real Prometheus answers the chart's own queries, and the gateways are scaled as KEDA scales them. What a
cluster does apart from that (scheduling, networks, DNS, volumes) is not shown.
"""

import argparse
import io
import sys
from collections.abc import Sequence

import numpy as np
from PIL import Image
from tabulate import tabulate

from tests.cluster.haproxy import why_no_haproxy
from tests.cluster.stack import MODEL, MODELS, start_cluster
from tests.cluster.steps import VALUES, Outcome, kill_one_of_each, roll, scale, throughput, under_load
from tests.helm import why_no_helm
from tests.integration.monitoring.conftest import why_no_prometheus
from tests.load.machine import describe_machine
from tests.triton_server import why_no_triton

INFER_S = 0.1
RATE, LOW, HIGH = 6.0, 1.0, 8.0  # images/s; one Triton could take 20, and may get all of them
CORES = 0.3  # of each gateway, for the sum: three of them fit two cores


def why_no_cluster() -> str | None:
    """Return the reason why this machine cannot run the cluster, or None if it can."""
    return why_no_helm() or why_no_haproxy() or why_no_prometheus() or why_no_triton()


def sample_image() -> bytes:
    """Return the starter's golden image as JPEG."""
    written = io.BytesIO()
    with np.load(MODELS / MODEL / "1" / "golden.npz") as golden:
        Image.fromarray(golden["input"][0]).save(written, "JPEG", quality=90)
    return written.getvalue()


def run(*, smallest: bool = False) -> list[Outcome]:
    """Do everything to one cluster; `smallest` starts and replaces fewer processes."""
    image = sample_image()
    with start_cluster(VALUES, gateways=2 if smallest else 3, tritons=2, infer_s=INFER_S) as cluster:
        outcomes = [
            under_load(cluster, "kill", image, RATE, lambda: kill_one_of_each(cluster)),
            under_load(cluster, "roll", image, RATE, lambda: roll(cluster, only_first=smallest)),
        ]
        for gateway in cluster.gateways[2:]:
            cluster.remove_gateway(gateway)
        return [*outcomes, *scale(cluster, image, LOW, HIGH)]


def main(argv: Sequence[str] | None = None) -> int:
    """Run the cluster, and print what its callers noticed; return 1 if a request failed."""
    parser = argparse.ArgumentParser(
        "python -m tests.cluster",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--sum", action="store_true", help="also compare three gateways with one")
    parser.add_argument(
        "--rounds", type=int, default=1, help="how often to do all steps (default: %(default)s)"
    )
    args = parser.parse_args(argv)
    if reason := why_no_cluster():
        print(reason, file=sys.stderr)
        return 2
    outcomes = [outcome for _ in range(args.rounds) for outcome in run()]
    print(describe_machine(("openvino", "fastapi", "uvicorn")))
    heads = ("step", "images/s", "sent", "failed", "sent again", "p50 ms", "p99 ms", "what happened")
    print(tabulate([list(vars(each).values()) for each in outcomes], heads, floatfmt=".0f"))
    if args.sum:
        print(f"\n{throughput(sample_image(), CORES)}")
    return int(any(outcome.failed for outcome in outcomes))


if __name__ == "__main__":
    sys.exit(main())
