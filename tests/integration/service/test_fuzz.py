"""Short runs of `python -m tests.fuzz`; its README has the results of the long ones."""

import re
import sys

import pytest

from tests.fuzz import __main__ as fuzz
from tests.fuzz import planted

pytestmark = [
    pytest.mark.heavy,
    pytest.mark.skipif(sys.platform != "linux", reason="fuzzing needs Linux"),
]


def test_defects_are_noticed_counted_and_kept(tmp_path, capsys):
    pytest.importorskip("atheris", reason="atheris is not installed; the extra fuzz has it")
    from tests.fuzz.parent import Fuzzing

    fuzzing = Fuzzing("planted", tmp_path)
    fuzzing.seed(planted.SEEDS)
    assert not fuzzing.run(600, seed=1)
    line = capsys.readouterr().out
    assert " 600 mutated inputs" in line
    crashes = int(re.search(r"(\d+) crashes", line)[1])
    assert 1 <= crashes <= 20
    kept = [path.read_bytes() for path in (tmp_path / "crashes").glob("*-status*.bin")]
    assert len(kept) == crashes
    assert set(kept) == {b"C"}
    kinds = {
        path.read_text().splitlines()[0].split(" at ")[0] for path in (tmp_path / "findings").glob("*.txt")
    }
    assert kinds == {"LookupError", "planted", "outside", "slow", "memory"}
    assert "1 files written" in line
    assert not Fuzzing("planted", tmp_path).run(600, seed=1)  # there is nothing left to run
    assert f" {crashes} crashes" in capsys.readouterr().out


@pytest.mark.parametrize(
    "command",
    [
        ["images", "--runs=8000"],
        ["requests", "--runs=4000", "--connections=1500"],
        ["api", "--examples=10"],
    ],
    ids=lambda command: command[0],
)
def test_rubbish_is_refused_as_documented(command, tmp_path, capsys):
    for name in ("atheris", "schemathesis"):
        pytest.importorskip(name, reason=f"{name} is not installed; the extra fuzz has it")
    assert fuzz.main([*command, f"--work={tmp_path}"]) == 0, capsys.readouterr()
