"""Limits of the process: descriptors, memory and threads."""

import resource
import socket
import time
from contextlib import ExitStack, suppress
from pathlib import Path

import numpy as np

from tests.builders import build_artifact, image_bytes
from tests.faults.callers import OK, Callers
from tests.faults.engine import ALL_WELL, HELD_S
from tests.faults.scene import Fault, Scene

SPARE_DESCRIPTORS = 40
SPARE_BYTES = 150_000_000
LARGE_HW = (3000, 4000)  # 36 MB once it is decoded


def descriptors(scene: Scene) -> None:
    """Let idle connections use up the descriptors: who is connected is still served."""
    repository = build_artifact(scene.folder / "repository").repository
    with scene.gateway(settings={"repository": repository}) as gateway:
        most = gateway.used().descriptors + SPARE_DESCRIPTORS
        gateway.limit(resource.RLIMIT_NOFILE, most)
        with scene.calling(Callers("others", gateway.port)), ExitStack() as idle:
            scene.breaks()
            for _ in range(2 * SPARE_DESCRIPTORS):
                with suppress(OSError):
                    address = ("127.0.0.1", gateway.port)
                    idle.enter_context(socket.create_connection(address, timeout=1.0))
            newcomers = Callers("newcomers", gateway.port, count=1, deadline_s=0.5)
            with newcomers:
                time.sleep(HELD_S)
            scene.add("newcomers", *newcomers.seen)
            idle.close()
            scene.well(gateway.answers)


def memory(scene: Scene) -> None:
    """Let large images come while the process may use hardly more memory."""
    repository = build_artifact(scene.folder / "repository").repository
    noise = np.random.default_rng(0).integers(0, 256, (8, 8, 3), np.uint8)
    large = image_bytes(np.tile(noise, (LARGE_HW[0] // 8, LARGE_HW[1] // 8, 1)))
    with scene.gateway(settings={"repository": repository}) as gateway:
        status = Path(f"/proc/{gateway.pid}/status").read_text()
        used_bytes = 1024 * int(status.split("VmSize:")[1].split()[0])
        crowd = Callers("large", gateway.port, count=8, body=large, deadline_s=8.0, pause_s=0.1)
        with scene.calling(Callers("others", gateway.port)):
            scene.breaks()
            gateway.limit(resource.RLIMIT_AS, used_bytes + SPARE_BYTES)
            with crowd:
                time.sleep(2 * HELD_S)
            scene.add("large", *crowd.seen)
            gateway.limit(resource.RLIMIT_AS, resource.RLIM_INFINITY)
            scene.well(gateway.answers)


FAULTS = (
    Fault(
        "descriptors-used-up",
        "idle connections use up the descriptors",
        ALL_WELL | {"newcomers": frozenset({OK, "refused", "cut", "hung"})},
        descriptors,
    ),
    Fault(
        "memory-short",
        "eight large images at once, and 150 MB left",
        {
            "others": frozenset({OK, "429 overloaded"}),
            "large": frozenset({OK, "413 image-too-large", "429 overloaded", "503 out-of-memory"}),
        },
        memory,
    ),
)
