"""Some of the faults of `python -m tests.faults`, as real as there, and a few restarts and swaps."""

import shutil
from pathlib import Path

import pytest

from tests.faults.__main__ import FAULTS, main, take
from tests.faults.callers import OK, count
from tests.faults.restarts import restart_often
from tests.faults.swaps import swap_in_process
from tests.triton_server import why_no_triton

pytestmark = pytest.mark.heavy

SHORT = (
    "artifact-truncated",
    "gateway-suspended",
    "log-pipe-stuck",
    "memory-short",
    "triton-hung",
    "triton-moves",
)


@pytest.mark.parametrize("name", SHORT)
def test_callers_see_what_they_may_see(name: str) -> None:
    fault = next(one for one in FAULTS if one.name == name)
    _need(*fault.needs)
    if name.startswith(("triton", "gateway")) and (reason := why_no_triton()):
        pytest.skip(reason)
    _, wrong = take(fault)
    assert wrong == []


def test_no_request_fails_while_gateways_are_restarted(tmp_path: Path) -> None:
    _need("haproxy")
    assert set(count(restart_often(tmp_path, 2).seen)) == {OK}


def test_no_request_fails_while_versions_are_swapped(tmp_path: Path) -> None:
    outcome = swap_in_process(tmp_path, 5)
    assert set(count(outcome.seen)) == {OK}
    assert {one.version for one in outcome.seen} == {str(version) for version in range(1, 7)}


def test_the_list_has_every_fault_once(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["--list"]) == 0
    printed = capsys.readouterr().out
    names = [fault.name for fault in FAULTS]
    assert len(set(names)) == len(names)
    assert all(printed.count(f"| {name} ") == 1 for name in names)


def _need(*programs: str) -> None:
    missing = [name for name in programs if shutil.which(name) is None]
    if missing:
        pytest.skip(f"{', '.join(missing)} is not installed")
