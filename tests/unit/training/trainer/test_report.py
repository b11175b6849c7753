"""The files that a run writes about itself, also after it resumes."""

import sys
import time

import pytest

from training.errors import TrainingError
from training.trainer.checkpoint import Position
from training.trainer.report import CURVES_FOLDER, METRICS_FILE, Report


def lines_after(run_dir, before, resumed_step):
    (run_dir / METRICS_FILE).write_bytes(before.encode("latin-1"))  # so that ÿ is not UTF-8
    with Report(run_dir, 100, resumed_step) as report:
        report.record(resumed_step + 1, {"kind": "train", "loss": 0.5})
    return (run_dir / METRICS_FILE).read_text(encoding="utf-8").splitlines()


NEW = '{"step": 5, "kind": "train", "loss": 0.5}'


@pytest.mark.parametrize(
    ("before", "expected"),
    [
        pytest.param("", [NEW], id="empty"),
        pytest.param('{"step": 4}\n', ['{"step": 4}', NEW], id="up to the step: kept"),
        pytest.param('{"step": 4}\n{"step": 5}\n{"step": 9}\n', ['{"step": 4}', NEW], id="later: dropped"),
        pytest.param('{"step": 4}\n{"step": 4, "ki', ['{"step": 4}', NEW], id="half a line: dropped"),
        pytest.param('{"step": 4}\n7\n[]\nÿ\0\n', ['{"step": 4}', NEW], id="other JSON and none: dropped"),
    ],
)
def test_lines_of_steps_that_will_be_repeated_are_dropped(tmp_path, before, expected):
    assert lines_after(tmp_path, before, resumed_step=4) == expected


def test_a_new_run_starts_a_new_file(tmp_path):
    with Report(tmp_path, 100, 0) as report:
        report.step(Position(0, 1, 1), 2, {"box": 1.0})
    assert (tmp_path / METRICS_FILE).read_text(encoding="utf-8") == ""


def curves_of(run_dir):
    accumulator = pytest.importorskip(
        "tensorboard.backend.event_processing.event_accumulator",
        reason="tensorboard is not installed: pip install '.[tensorboard]'",
    )
    events = accumulator.EventAccumulator(str(run_dir / CURVES_FOLDER))
    events.Reload()
    names = events.Tags()["scalars"]
    return {name: [(each.step, each.value) for each in events.Scalars(name)] for name in names}


def test_tensorboard_shows_every_number_and_hides_steps_that_are_repeated(tmp_path):
    pytest.importorskip("tensorboard", reason="tensorboard is not installed: pip install '.[tensorboard]'")
    with Report(tmp_path, 4, 0, tensorboard=True) as report:
        for step in (1, 2, 3):
            report.step(Position(0, step, step), 1, {"box": 1.0 * step})
        report.record(3, {"kind": "evaluate", "mAP50": 0.5, "note": "not a number"})
    assert curves_of(tmp_path) == {
        "step/box": [(1, 1.0), (2, 2.0), (3, 3.0)],
        "evaluate/mAP50": [(3, 0.5)],
    }
    time.sleep(1.1)  # files of one second have one name, but for the process's number and a counter
    with Report(tmp_path, 4, 2, tensorboard=True) as report:
        report.step(Position(0, 3, 3), 1, {"box": 30.0})
    assert curves_of(tmp_path) == {"step/box": [(1, 1.0), (2, 2.0), (3, 30.0)], "evaluate/mAP50": []}


def test_without_tensorboard_one_is_told_how_to_get_it_before_a_run_starts(tmp_path, monkeypatch):
    for module in ("torch.utils.tensorboard", "torch.utils.tensorboard.writer"):
        monkeypatch.setitem(sys.modules, module, None)  # what an import finds of a package that is not there
    with pytest.raises(TrainingError, match=r"--tensorboard needs the package tensorboard: pip install"):
        Report(tmp_path, 4, 0, tensorboard=True)
    assert list(tmp_path.iterdir()) == []


def test_a_process_that_is_not_the_first_writes_and_shows_nothing(tmp_path, capsys, monkeypatch):
    monkeypatch.chdir(tmp_path)
    with Report(None, 4, 0, tensorboard=True) as report:
        report.step(Position(0, 1, 1), 1, {"box": 1.0})
        report.record(1, {"kind": "train", "box": 1.0})
    assert list(tmp_path.iterdir()) == []
    assert capsys.readouterr() == ("", "")
