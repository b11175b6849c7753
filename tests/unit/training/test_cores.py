"""The cores that a process may use: its affinity, and the CPU quotas of its control groups."""

import os

import pytest

from training.cores import usable_cores

TWO, ONE = "0::/a/b\n", "2:cpu,cpuacct:/a/b\n1:memory:/a/b\n0::/\n"


@pytest.fixture
def ten_cores(monkeypatch):
    monkeypatch.setattr(os, "sched_getaffinity", lambda pid: set(range(10)))


def groups(tmp_path, own, files):
    (tmp_path / "own").write_text(own)
    for name, text in files.items():
        path = tmp_path / "groups" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
    return tmp_path / "groups", tmp_path / "own"


@pytest.mark.parametrize(
    ("own", "files", "cores"),
    [
        pytest.param(TWO, {}, 10, id="no control groups"),
        pytest.param("", {"cpu.max": "100000 100000"}, 10, id="no group of its own"),
        pytest.param(TWO, {"a/b/cpu.max": "max 100000\n"}, 10, id="no quota"),
        pytest.param(TWO, {"a/b/cpu.max": "400000 100000\n"}, 4, id="version 2"),
        pytest.param(TWO, {"a/b/cpu.max": "150000 100000\n"}, 2, id="one and a half cores"),
        pytest.param(TWO, {"a/b/cpu.max": "50000 100000\n"}, 1, id="half a core"),
        pytest.param(TWO, {"a/b/cpu.max": "5000000 100000\n"}, 10, id="more than there are"),
        pytest.param(
            TWO, {"a/cpu.max": "200000 100000", "a/b/cpu.max": "max 100000"}, 2, id="of a group above"
        ),
        pytest.param("0::/\n", {"cpu.max": "300000 100000\n"}, 3, id="in a container"),
        pytest.param("0::/../../x\n", {"cpu.max": "300000 100000\n"}, 3, id="in a container, host's path"),
        pytest.param(
            ONE,
            {"cpu/a/b/cpu.cfs_quota_us": "200000\n", "cpu/a/b/cpu.cfs_period_us": "50000\n"},
            4,
            id="version 1",
        ),
        pytest.param(
            ONE,
            {"cpu/cpu.cfs_quota_us": "-1\n", "cpu/cpu.cfs_period_us": "100000\n"},
            10,
            id="version 1 without a quota",
        ),
    ],
)
def test_a_quota_limits_the_cores(ten_cores, tmp_path, own, files, cores):
    assert usable_cores(*groups(tmp_path, own, files)) == cores


def test_affinity_limits_the_cores_of_this_machine():
    before = os.sched_getaffinity(0)
    try:
        os.sched_setaffinity(0, {min(before)})
        assert usable_cores() == 1
    finally:
        os.sched_setaffinity(0, before)
    assert 1 <= usable_cores() <= len(before)
