"""Compare the throughput of two running gateways, for example of two builds.

    .venv/bin/python -m tests.load.two_gateways PHOTO.jpg 8001 8002

In each round, callers POST the photo to one port and then to the other. So other work on the machine affects
both gateways. The script prints the median rate of each gateway. It also divides the second gateway's rate by
the first's in each round, and prints the median of these ratios.
"""

import argparse
import statistics
import sys
from pathlib import Path

from tests.load.gateway_throughput import gateway_rate
from tests.load.machine import describe_machine


def main() -> int:
    """Measure both rates and print them."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("photo", type=Path, help="a photograph; every request sends it")
    parser.add_argument("ports", type=int, nargs=2, help="of the gateways, which are running")
    parser.add_argument("--callers", type=int, default=4, help="at the same time (default: %(default)s)")
    parser.add_argument("--rounds", type=int, default=20, help="of each, in turns (default: %(default)s)")
    parser.add_argument("--seconds", type=float, default=3.0, help="of each round (default: %(default)s)")
    args = parser.parse_args()
    photo = args.photo.read_bytes()
    rates: dict[int, list[float]] = {port: [] for port in args.ports}
    for port in args.ports:
        gateway_rate(port, photo, args.callers, 2.0)  # warm up
    for number in range(args.rounds):
        for port in args.ports if number % 2 == 0 else reversed(args.ports):
            rates[port].append(gateway_rate(port, photo, args.callers, args.seconds))
    first, second = rates.values()
    ratios = [b / a for a, b in zip(first, second, strict=True)]
    print(describe_machine())
    print(f"{args.callers} callers, {args.rounds} rounds of {args.seconds:g} s, in turns")
    for port, values in rates.items():
        print(f"port {port}: {statistics.median(values):7.2f} images/s")
    low, middle, high = statistics.quantiles(ratios, n=4)
    print(f"second over first: {middle:.3f} (middle half of the rounds {low:.3f} to {high:.3f})")
    return 0


if __name__ == "__main__":
    sys.exit(main())
