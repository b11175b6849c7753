"""Faults of the clock: the time of day jumps, as after a wrong time server, or a machine that was asleep."""

import http.client
import struct
import subprocess
import time
from collections.abc import Callable
from email.utils import parsedate_to_datetime
from functools import partial
from pathlib import Path

from tests.faults.backend import behind, use_triton
from tests.faults.callers import OK
from tests.faults.engine import ALL_WELL
from tests.faults.scene import Fault, Scene

HOUR_S = 3600


def faked(folder: Path) -> tuple[list[str], Path]:
    """Return a command that runs another with a time of day of its own, and the file that says which."""
    file, library = folder / "offset", folder / "clock.so"
    set_offset(file, 0)
    source = Path(__file__).with_suffix(".c")
    subprocess.run(["cc", "-shared", "-fPIC", "-O1", "-o", library, source, "-ldl"], check=True)
    return ["env", f"LD_PRELOAD={library}", f"CLOCK_OFFSET_FILE={file}"], file


def set_offset(file: Path, hours: int) -> None:
    """Change the time of day, in the same file, which is mapped."""
    with file.open("r+b" if file.exists() else "wb") as opened:
        opened.write(struct.pack("l", hours * HOUR_S))


def says(port: int) -> float:
    """Return how many seconds the gateway's time of day is ahead of ours."""
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=2)
    connection.request("GET", "/healthz")
    date = connection.getresponse().headers["Date"]
    connection.close()
    return parsedate_to_datetime(date).timestamp() - time.time()


def jumps(scene: Scene, hours: int) -> None:
    """Let the time of day jump while images are served, in the process and by Triton."""
    prefix, file = faked(scene.folder)
    with behind(scene, prefix=prefix) as one:
        use_triton(one)
        with scene.calling(*one.callers()):
            scene.breaks()
            set_offset(file, hours)
            time.sleep(2.5)
            ahead_s = says(one.gateway.port)
            is_there = abs(ahead_s - hours * HOUR_S) < 60
            scene.check(is_there, f"the clock did not jump: it is {ahead_s:.0f} s ahead")
            set_offset(file, 0)
            scene.well(one.by_triton)


def _fault(name: str, what: str, run: Callable[[Scene], None]) -> Fault:
    return Fault(name, what, ALL_WELL | {"pinned": frozenset({OK})}, run, needs=("cc",))


FAULTS = (
    _fault("clock-forward", "the time of day jumps five hours forward, and back", partial(jumps, hours=5)),
    _fault("clock-backward", "the time of day jumps five hours back, and forward", partial(jumps, hours=-5)),
)
