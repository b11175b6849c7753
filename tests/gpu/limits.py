"""Runs a command for no longer than it may: asked to stop first, killed if it does not."""

import os
import signal
import subprocess
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

GRACE_S = 15.0  # to write a checkpoint in


@dataclass(frozen=True)
class Ended:
    """How a command ended."""

    how: Literal["done", "stopped", "killed"]  # by itself, when it was asked to, or by force
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
    """Run a command in a session of its own, and leave no process of it behind.

    Args:
        limit_s: after so many seconds it gets a SIGTERM, grace_s later all its processes are killed.
        log: its standard error is appended here; its standard output is this process's.
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
            process.terminate()  # the command alone: its workers are its own to end
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
        return  # all of them have ended
