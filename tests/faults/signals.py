"""Signals: ends, reloads, suspensions and kills in the middle of the work."""

import shutil
import signal
import time
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from pathlib import Path

from tests.builders import build_artifact
from tests.faults.backend import behind, use_triton
from tests.faults.callers import IMAGE, OK, Callers
from tests.faults.clients import connected, head, how
from tests.faults.engine import ALL_WELL
from tests.faults.scene import Fault, Scene
from tests.load.services import STARTER

STORM = 200
SUSPENDED_S = 6.0


def uploads_at_the_end(scene: Scene) -> None:
    """End the gateway while images arrive: they are still answered."""
    repository = build_artifact(scene.folder / "repository").repository
    with scene.gateway(settings={"repository": repository}, settle=False) as gateway:
        with connected(gateway, 10) as connections:
            for connection in connections:
                connection.sendall(head(len(IMAGE)) + IMAGE[:50])
            time.sleep(0.3)
            scene.breaks()
            began_s = time.monotonic()
            gateway.signal(signal.SIGTERM)
            time.sleep(1.0)
            for connection in connections:
                connection.sendall(IMAGE[50:])
            scene.add("uploads", *(how(connection, began_s) for connection in connections))
        scene.check(gateway.end_code() == 0, "the exit code is not 0")
        gateway.start(until_ready=False)
        scene.well(gateway.is_ready)


def work_at_the_end(scene: Scene, requests: int, times: int, **settings: object) -> None:
    """End the gateway while images are in Triton, or wait for their turn: they are still answered."""
    with behind(scene, settings={"max_queue_s": 20, **settings}, settle=False) as one:
        use_triton(one)
        one.behave(sleep_s=0.5)
        ask = partial(one.gateway.ask, deadline_s=10.0, backend="triton")
        with ThreadPoolExecutor(requests) as pool:
            asked = [pool.submit(ask) for _ in range(requests)]
            time.sleep(0.25)
            scene.breaks()
            for _ in range(times):
                one.gateway.signal(signal.SIGTERM)
                time.sleep(0.1)
            scene.add("in flight", *(one.result() for one in asked))
        scene.check(one.gateway.end_code() == 0, "the exit code is not 0")
        one.gateway.start(until_ready=False)
        scene.well(one.gateway.is_ready)


def reload_storm(scene: Scene) -> None:
    """Send very many reloads; they must not pile up."""
    repository = build_artifact(scene.folder / "repository").repository
    shutil.copytree(STARTER, repository / "starter-openvino" / "1")  # so that reading takes a while
    settings = {"repository": repository, "default_model": "tiny"}
    with scene.gateway(settings=settings) as gateway, scene.calling(Callers("others", gateway.port)):
        scene.breaks()
        for _ in range(STORM):
            gateway.signal(signal.SIGHUP)
            time.sleep(0.005)
        build_artifact(repository, version="2")
        gateway.signal(signal.SIGHUP)
        scene.well(lambda: gateway.ask(model="tiny").version == "2")


def suspended(scene: Scene) -> None:
    """Suspend the gateway for longer than idle connections are kept, while requests come on them."""
    with behind(scene) as one, connected(one.gateway, 10) as connections:
        use_triton(one)
        for connection in connections:
            connection.sendall(head(len(IMAGE)) + IMAGE)
            how(connection, time.monotonic())
        scene.breaks()
        one.gateway.signal(signal.SIGSTOP)
        time.sleep(1.0)
        began_s = time.monotonic()
        for connection in connections:
            connection.sendall(head(len(IMAGE)) + IMAGE)
        time.sleep(SUSPENDED_S - 1.0)
        one.gateway.signal(signal.SIGCONT)
        scene.add("callers", *(how(connection, began_s) for connection in connections))
        scene.well(one.by_triton)


def broken_pipe_signal(scene: Scene) -> None:
    """Send the signal of a broken pipe, which must be ignored."""
    repository = build_artifact(scene.folder / "repository").repository
    with (
        scene.gateway(settings={"repository": repository}) as gateway,
        scene.calling(Callers("others", gateway.port)),
    ):
        scene.breaks()
        for _ in range(10):
            gateway.signal(signal.SIGPIPE)
            time.sleep(0.05)
        scene.well(gateway.answers)


def killed(scene: Scene) -> None:
    """Kill the gateway and start it again on its port: nothing is left of the first one."""
    with behind(scene, settings={"triton__shared_memory": "true"}, settle=False) as one:
        use_triton(one)
        mine = f"sparsight-{one.gateway.pid}-*"
        scene.check(any(Path("/dev/shm").glob(mine)), "the gateway does not use shared memory")
        with scene.calling(Callers("callers", one.gateway.port)):
            scene.breaks()
            one.gateway.kill()
            one.gateway.start()
            scene.well(one.by_triton)
        scene.check(not any(Path("/dev/shm").glob(mine)), "shared memory of the first one is left")


FAULTS = (
    Fault(
        "sigterm-uploads",
        "SIGTERM while ten images arrive",
        {"uploads": frozenset({OK})},
        uploads_at_the_end,
        recovers_s=10.0,
    ),
    Fault(
        "sigterm-inference",
        "SIGTERM while an image is in Triton",
        {"in flight": frozenset({OK})},
        partial(work_at_the_end, requests=1, times=1),
        recovers_s=10.0,
    ),
    Fault(
        "sigterm-queue",
        "SIGTERM while seven images wait for one turn",
        {"in flight": frozenset({OK})},
        partial(work_at_the_end, requests=8, times=1, triton__max_inflight=1),
        recovers_s=10.0,
    ),
    Fault(
        "sigterm-twice",
        "SIGTERM twice while images are in Triton",
        {"in flight": frozenset({OK})},
        partial(work_at_the_end, requests=2, times=2),
        recovers_s=10.0,
    ),
    Fault("sighup-storm", f"{STORM} SIGHUP within some seconds", ALL_WELL, reload_storm),
    Fault(
        "gateway-suspended",
        f"the gateway is suspended for {SUSPENDED_S:g} seconds",
        {"callers": frozenset({OK})},
        suspended,
    ),
    Fault("sigpipe", "SIGPIPE ten times", ALL_WELL, broken_pipe_signal),
    Fault(
        "gateway-killed",
        "the gateway is killed, and started again",
        {"callers": frozenset({OK, "cut", "refused", "503 not-ready"})},
        killed,
    ),
)
