"""Swap the version of a model again and again under load, in the gateway's process and in Triton."""

import shutil
import signal
import time
from pathlib import Path

from tqdm import tqdm

from tests.builders import build_artifact
from tests.faults.backend import MODEL, behind, release, use_triton
from tests.faults.callers import Callers
from tests.faults.gateway import Gateway, running, wait_until
from tests.faults.restarts import Repeated
from tests.faults.scene import Scene

SWAPPED_S = 30.0


def swap_in_process(folder: Path, times: int) -> Repeated:
    """Add a version, and send SIGHUP; do so again when the new version answers."""
    repository = build_artifact(folder / "repository").repository
    gateway = Gateway(folder / "log", {"repository": repository})
    took_s = []
    with running(gateway), Callers("callers", gateway.port, count=4, pause_s=0.02) as callers:
        for version in tqdm(range(2, times + 2), desc="swaps in the process", mininterval=2):
            # Under a name that the gateway ignores, because it must not read half a version.
            built = build_artifact(folder / "new", version=str(version)).folder
            built.rename(repository / MODEL / str(version))
            began_s = time.monotonic()
            gateway.signal(signal.SIGHUP)
            await_version(gateway, str(version))
            took_s.append(time.monotonic() - began_s)
            shutil.rmtree(repository / MODEL / str(version - 1))
    return Repeated(callers.seen, took_s)


def swap_in_triton(folder: Path, times: int) -> Repeated:
    """Load a version in Triton; the gateway replays its golden sample before the version answers."""
    took_s = []
    with behind(Scene(folder), settings={"backends": "triton"}, settle=False) as one:
        use_triton(one)
        with Callers("callers", one.gateway.port, count=4, pause_s=0.02) as callers:
            for version in tqdm(range(2, times + 2), desc="swaps in Triton", mininterval=2):
                release(one.repository, str(version))
                shutil.copytree(one.repository / MODEL / str(version), one.local / MODEL / str(version))
                began_s = time.monotonic()
                one.triton.load(MODEL)
                await_version(one.gateway, str(version))
                took_s.append(time.monotonic() - began_s)
                for place in (one.repository, one.local):  # Triton serves the last two versions
                    shutil.rmtree(place / MODEL / str(version - 2), ignore_errors=True)
        proved = one.gateway.log().count("triton_version_proved")
        golden = one.gateway.log().count('proof="golden sample"')
    if golden < times:
        raise RuntimeError(f"of {proved} versions, only {golden} were proved by a golden sample")
    return Repeated(callers.seen, took_s)


def await_version(gateway: Gateway, version: str) -> None:
    """Wait until a version answers.

    Raises:
        RuntimeError: it does not answer after half a minute.
    """
    if not wait_until(lambda: gateway.ask().version == version, SWAPPED_S):
        raise RuntimeError(f"version {version} does not answer:\n{gateway.log()[-2000:]}")
