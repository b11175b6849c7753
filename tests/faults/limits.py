"""Limits of the process: descriptors, memory and threads."""

import base64
import resource
import socket
import subprocess
import time
from contextlib import ExitStack, suppress
from pathlib import Path

import numpy as np

from tests.builders import build_artifact, image_bytes
from tests.faults.callers import IMAGE, OK, Callers, Seen
from tests.faults.engine import ALL_WELL, HELD_S
from tests.faults.gateway import Gateway, running
from tests.faults.scene import Fault, Scene

SPARE_DESCRIPTORS = 40
SPARE_BYTES = 350_000_000
USER = 54321  # has no other processes
AS_USER = ("setpriv", f"--reuid={USER}", f"--regid={USER}", "--clear-groups")
THREADS = 200
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


def unprivileged(threads: int) -> list[str]:
    """Return a command that runs another under a user of its own, who may have so many threads in all."""
    # It may read the files of root, and has none of root's exceptions from limits.
    reads = [f"--{kind}=-all,+dac_override" for kind in ("inh-caps", "ambient-caps", "bounding-set")]
    return [*AS_USER, *reads, "prlimit", f"--nproc={threads}", "--"]


def limit_threads(gateway: Gateway, threads: int) -> None:
    """Change how many threads the user of a running gateway may have."""
    limit = ["prlimit", f"--pid={gateway.pid}", f"--nproc={threads}:{THREADS}"]
    subprocess.run([*AS_USER, *limit], check=True)


def no_threads_at_start(scene: Scene) -> None:
    """Start a gateway that may not start a thread: it says so and ends."""
    repository = build_artifact(scene.folder / "repository").repository
    scene.folder.chmod(0o755)
    # OpenBLAS wants threads of its own as soon as numpy is imported, and ends the process if it gets none.
    alone = ("env", "OPENBLAS_NUM_THREADS=1", *unprivileged(1))
    gateway = Gateway(scene.folder / "log", {"repository": repository}, prefix=alone)
    scene.breaks()
    began_s = time.monotonic()
    try:
        gateway.start(until_ready=False)
        code = gateway.end_code()
    finally:
        gateway.kill()
    told = gateway.log().splitlines()[-1]
    scene.add("operator", Seen(began_s, time.monotonic(), f"exit code {code}", deadline_s=10.0))
    scene.check("thread" in told, f"the last line does not name the threads: {told}")
    free = Gateway(scene.folder / "log", {"repository": repository}, prefix=unprivileged(THREADS))
    with running(free):
        scene.well(free.answers)


def no_threads_under_load(scene: Scene) -> None:
    """Let a gateway start no more threads from its first request on."""
    repository = build_artifact(scene.folder / "repository").repository
    scene.folder.chmod(0o755)
    settings = {"repository": repository, "workers": 8}
    gateway = Gateway(scene.folder / "log", settings, prefix=unprivileged(THREADS))
    text = "data:image/png;base64," + base64.b64encode(IMAGE).decode()
    with running(gateway):
        callers = Callers("callers", gateway.port, count=6)
        writers = Callers("callers", gateway.port, count=4, body=text.encode())
        scene.breaks()
        limit_threads(gateway, 1)
        with scene.calling(callers, writers):
            time.sleep(HELD_S)
            limit_threads(gateway, THREADS)
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
        "eight large images at once, and 350 MB left",
        {
            "others": frozenset({OK, "429 overloaded"}),
            "large": frozenset({OK, "413 image-too-large", "429 overloaded", "503 out-of-resources"}),
        },
        memory,
    ),
    Fault(
        "threads-none-at-start",
        "the gateway may start no thread when it starts (numpy's own threads are off)",
        {"operator": frozenset({"exit code 1"})},
        no_threads_at_start,
        needs=("setpriv", "prlimit"),
    ),
    Fault(
        "threads-none-under-load",
        "the gateway may start no more threads from its first image on",
        {"callers": frozenset({OK, "503 out-of-resources"})},
        no_threads_under_load,
        needs=("setpriv", "prlimit"),
    ),
)
