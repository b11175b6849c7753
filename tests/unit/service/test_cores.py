"""The cores that this process may use: its affinity, and the CPU quotas of its control groups."""

import os
import subprocess
import sys

import pytest

from service.cores import allowed_cores, usable_cores

V2 = "0::/kubepods/pod-7\n"
V1 = "9:memory:/docker/7\n4:cpu,cpuacct:/docker/7\n3:cpuset:/\n0::/\n"


def v1(quota, period=100_000, at="cpu,cpuacct/docker/7"):
    return {f"{at}/cpu.cfs_quota_us": f"{quota}\n", f"{at}/cpu.cfs_period_us": f"{period}\n"}


def cores(tmp_path, own, files):
    """Return usable_cores() for a fake tree of control groups and a fake /proc/self/cgroup."""
    (tmp_path / "own").write_text(own)
    for name, text in files.items():
        (tmp_path / "groups" / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / "groups" / name).write_text(text)
    return usable_cores(tmp_path / "groups", tmp_path / "own")


@pytest.fixture(autouse=True)
def ten_cores(request, monkeypatch):
    if "tmp_path" in request.fixturenames:
        monkeypatch.setattr(os, "sched_getaffinity", lambda _: set(range(10)))


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("max 100000", 10),
        ("50000 100000", 1),
        ("100000 100000", 1),
        ("199999 100000", 1),
        ("250000 100000", 2),
        ("300000 50000", 6),
        ("990000 100000", 9),
        ("2000000 100000", 10),
    ],
)
def test_a_quota_is_rounded_down_to_whole_cores_but_not_to_none(tmp_path, text, expected):
    assert cores(tmp_path, "0::/\n", {"cpu.max": f"{text}\n"}) == expected


@pytest.mark.parametrize(
    ("quota", "period", "expected"),
    [(-1, 100_000, 10), (50_000, 100_000, 1), (250_000, 100_000, 2), (300_000, 50_000, 6)],
)
def test_version_1_states_quota_and_period_in_two_files(tmp_path, quota, period, expected):
    assert cores(tmp_path, V1, v1(quota, period)) == expected


@pytest.mark.parametrize(
    ("own", "files", "expected"),
    [
        pytest.param(V2, {"kubepods/pod-7/cpu.max": "300000 100000"}, 3, id="the process's own"),
        pytest.param(
            V2,
            {"kubepods/cpu.max": "200000 100000", "kubepods/pod-7/cpu.max": "max 100000"},
            2,
            id="only the parent's",
        ),
        pytest.param(
            V2,
            {"kubepods/cpu.max": "800000 100000", "kubepods/pod-7/cpu.max": "400000 100000"},
            4,
            id="the smaller of both",
        ),
        pytest.param(
            V2,
            {"kubepods/cpu.max": "max 100000", "kubepods/pod-8/cpu.max": "100000 100000"},
            10,
            id="not a neighbour's",
        ),
        pytest.param(V2, {"cpu.max": "300000 100000"}, 3, id="a container that sees the host's path"),
        pytest.param("0::/../../x\n", {"cpu.max": "300000 100000"}, 3, id="a path outside the container"),
        pytest.param(V1, v1(300_000, at="cpu/docker/7"), 3, id="version 1, named for one controller"),
        pytest.param(V1, v1(300_000, at="cpu"), 3, id="version 1, the container's own group is the top"),
        pytest.param(V1, v1(300_000, at="memory/docker/7"), 10, id="version 1, another controller's"),
        pytest.param(V1, v1(400_000) | v1(200_000, at="cpu,cpuacct/docker"), 2, id="version 1, the parent's"),
    ],
)
def test_the_smallest_quota_from_the_top_to_the_process_counts(tmp_path, own, files, expected):
    assert cores(tmp_path, own, files) == expected


@pytest.mark.parametrize("text", ["", "x y", "100000", "0 0", "100000 100000 100000"])
def test_what_cannot_be_read_is_no_quota(tmp_path, text):
    assert cores(tmp_path, "0::/\n", {"cpu.max": text}) == 10
    assert cores(tmp_path, "", {"cpu.max": "100000 100000"}) == 10
    assert usable_cores(tmp_path / "groups", tmp_path / "missing") == 10


def test_cores_that_a_process_may_not_run_on_do_not_count():
    """In a child process, because its affinity cannot be widened again everywhere."""
    script = (
        "import os, sys; from pathlib import Path; from service.cores import allowed_cores, usable_cores; "
        "os.sched_setaffinity(0, {int(sys.argv[1])}); nowhere = Path('/nowhere'); "
        "print(allowed_cores(), usable_cores(), usable_cores(nowhere, nowhere))"
    )
    last = max(os.sched_getaffinity(0))
    done = subprocess.run(
        [sys.executable, "-c", script, str(last)], capture_output=True, text=True, check=True
    )
    assert done.stdout.split() == ["1", "1", "1"]
    assert 1 <= usable_cores() <= allowed_cores() == len(os.sched_getaffinity(0))
