"""A short soak of a real service: it passes as it is, and not if it leaks."""

import json
import sys
from pathlib import Path

import cv2
import pytest

from tests.load.soak import __main__ as soak

pytestmark = [
    pytest.mark.heavy,
    pytest.mark.skipif(sys.platform != "linux", reason="only Linux has /proc"),
]
LEAKING = """
import runpy

from service.observe.metrics import MetricsObserver

kept, answered = [], MetricsObserver.answered


def keep(self, image):
    kept.append(bytearray(2000))
    answered(self, image)


MetricsObserver.answered = keep
runpy.run_module("tests.load.soak.service", run_name="__main__")
"""
# After so few requests, heaps are still filling and threads are still starting. What is in use has a slope of
# about 10 MB for each 100,000 requests, and of more than 60 with the leak.
FLAGS = ["--requests", "1200", "--every", "100", "--limit-mb", "40"]
LATER = ("own_mb", "rss_mb", "threads", "series")  # which only a long soak can judge


def run(folder: Path, capsys: pytest.CaptureFixture[str], *service: str) -> tuple[int, str]:
    code = soak.main([*FLAGS, "--folder", str(folder)], service or soak.SERVICE)
    return code, capsys.readouterr().out


def verdict(printed: str) -> list[str]:
    """Return what grew, without what only a long soak can judge."""
    found = printed.partition("verdict: ")[2].strip().split("; ")
    return [sentence for sentence in found if not sentence.startswith(("nothing grew", *LATER))]


def test_a_service_passes_and_everything_is_reported(tmp_path, capsys):
    _, printed = run(tmp_path, capsys)
    assert verdict(printed) == [], printed
    lines = (tmp_path / "samples.jsonl").read_text().splitlines()
    assert [json.loads(line)["requests"] for line in lines] == list(range(0, 1201, 100))
    assert all(json.loads(line)["in_flight"] == 0 for line in lines)
    assert cv2.imread(str(tmp_path / "soak.png")).shape[1] == 1200
    for status in (200, 400, 403, 404, 405, 413, 415, 422, 429):
        assert f" x {status}" in printed


def test_a_service_that_leaks_is_caught(tmp_path, capsys):
    code, printed = run(tmp_path, capsys, sys.executable, "-c", LEAKING)
    assert code == 1
    assert "used_mb grows by +" in printed, printed
