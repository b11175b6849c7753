"""A part of the GPU run ends within its time limit, and leaves no process behind."""

import os
import sys
import time

import pytest

from tests.gpu.limits import run_limited

STUBBORN = """
import signal, time
signal.signal(signal.SIGTERM, lambda *_: print("asked", flush=True))
print("ready", flush=True)
end = time.monotonic() + 60
while time.monotonic() < end: time.sleep(0.05)
"""
OBEDIENT = """
import signal, sys, time
signal.signal(signal.SIGTERM, lambda *_: sys.exit(7))
time.sleep(60)
"""
# Starts a child that sleeps for a minute, and prints the child's process id.
WITH_A_CHILD = """
import subprocess, sys
print(subprocess.Popen([sys.executable, "-c", "import time; time.sleep(60)"]).pid, file=sys.stderr)
"""


def run(code, limit_s, log, grace_s=0.5):
    return run_limited([sys.executable, "-c", code], limit_s, log, os.environ, grace_s=grace_s)


def test_a_command_within_its_limit_ends_by_itself(tmp_path):
    ended = run("import sys; sys.stderr.write('told'); sys.exit(3)", 30, tmp_path / "log")
    assert (ended.how, ended.code) == ("done", 3)
    assert (tmp_path / "log").read_text(encoding="utf-8") == "told"


def test_one_that_takes_longer_is_asked_to_stop(tmp_path):
    ended = run(OBEDIENT, 1.5, tmp_path / "log", grace_s=20)
    assert (ended.how, ended.code) == ("stopped", 7)
    assert 1.5 <= ended.seconds < 20


def test_one_that_does_not_stop_is_killed_after_the_grace(tmp_path):
    ended = run(STUBBORN, 1.5, tmp_path / "log")
    assert (ended.how, ended.code) == ("killed", -9)
    assert 2 <= ended.seconds < 20


def test_what_a_command_leaves_running_ends_with_it(tmp_path):
    assert run(WITH_A_CHILD, 30, tmp_path / "log").how == "done"
    child = int((tmp_path / "log").read_text(encoding="utf-8"))
    end_s = time.monotonic() + 10
    while is_running(child):
        assert time.monotonic() < end_s, "the child is still there"
        time.sleep(0.05)


def is_running(pid):
    """Return whether a process runs; a process that has ended as a zombie does not."""
    try:
        with open(f"/proc/{pid}/stat") as file:  # noqa: PTH123  # gone while it is read
            return file.read().rpartition(")")[2].split()[0] != "Z"
    except (FileNotFoundError, ProcessLookupError):
        return False


def test_a_limit_that_has_passed_already_stops_at_once(tmp_path):
    ended = run("import time; time.sleep(60)", -1.0, tmp_path / "log")
    assert ended.how == "stopped"
    assert ended.seconds == pytest.approx(0, abs=10)
