"""Runs a command with a time limit: asks it to stop, then kills it."""

import os
import signal
import subprocess
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

GRACE_S = 15.0  # time for writing a checkpoint


@dataclass(frozen=True)
class Ended:
    """How a command ended."""

    how: Literal["done", "stopped", "killed"]  # by itself, after SIGTERM, or killed
    code: int
    seconds: float


def run_limited(
    command: Sequence[str],
    limit_s: float,
    log: Path,
    environment: Mapping[str, str],
    *,
    grace_s: float = GRACE_S,
) -> Ended:
    """Run a command in its own session, and leave none of its processes behind.

    Args:
        limit_s: after this time the command gets a SIGTERM; grace_s later all its processes are killed.
        log: file to which the standard error is appended; standard output is that of this process.
    """
    begun_s = time.monotonic()
    with log.open("ab") as errors:
        process = subprocess.Popen(
            command, stderr=errors, stdin=subprocess.DEVNULL, env=dict(environment), start_new_session=True
        )
    how: Literal["done", "stopped", "killed"] = "done"
    try:
        try:
            process.wait(max(limit_s, 0))
        except subprocess.TimeoutExpired:
            how = "stopped"
            process.terminate()  # only the command itself, which ends its own workers
            try:
                process.wait(grace_s)
            except subprocess.TimeoutExpired:
                how = "killed"
    finally:
        _kill_group(process.pid)
        code = process.wait()
    return Ended(how, code, time.monotonic() - begun_s)


def _kill_group(group: int) -> None:
    try:
        os.killpg(group, signal.SIGKILL)
    except ProcessLookupError:
        return  # all processes have ended
