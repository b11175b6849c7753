"""Restart two gateways in turns, behind a load balancer and under load."""

import signal
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from tqdm import tqdm

from tests.builders import build_artifact
from tests.faults.balancer import balanced
from tests.faults.callers import Callers, Seen
from tests.faults.gateway import Gateway, running

DELAY_S = 1.0  # SPARSIGHT_SHUTDOWN_DELAY_S, longer than HAProxy needs to notice


@dataclass(frozen=True)
class Repeated:
    """What callers saw while something was done again and again, and how long each time took."""

    seen: Sequence[Seen]
    took_s: Sequence[float]


def restart_often(folder: Path, times: int, delay_s: float = DELAY_S) -> Repeated:
    """Restart two gateways in turns, each only when both get requests.

    Raises:
        RuntimeError: a gateway did not end with exit code 0, or was not ready again.
    """
    repository = build_artifact(folder / "repository").repository
    settings = {"repository": repository, "shutdown_delay_s": delay_s}
    gateways = [Gateway(folder / f"log{number}", settings) for number in range(2)]
    took_s = []
    with (
        running(gateways[0]),
        running(gateways[1]),
        balanced(folder, gateways) as balancer,
        Callers("callers", balancer.port, count=4, pause_s=0.02) as callers,
    ):
        for number in tqdm(range(times), desc="restarts", mininterval=2):
            gateway = gateways[number % 2]
            began_s = time.monotonic()
            gateway.signal(signal.SIGTERM)
            code = gateway.end_code()
            if code != 0:
                raise RuntimeError(f"a gateway ended with {code}:\n{gateway.log()[-2000:]}")
            gateway.start()
            balancer.wait_for(len(gateways))
            took_s.append(time.monotonic() - began_s)
    return Repeated(callers.seen, took_s)
