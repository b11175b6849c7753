"""The metrics file of a run that goes on."""

import pytest

from training.trainer.report import METRICS_FILE, Report


def lines_after(run_dir, before, resumed_step):
    (run_dir / METRICS_FILE).write_text(before, encoding="utf-8")
    with Report(run_dir, 100, resumed_step, quiet=True) as report:
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
    ],
)
def test_lines_of_steps_that_will_be_repeated_are_dropped(tmp_path, before, expected):
    assert lines_after(tmp_path, before, resumed_step=4) == expected


def test_a_new_run_starts_a_new_file(tmp_path):
    with Report(tmp_path, 100, 0, quiet=True) as report:
        report.step(0, 2, {"box": 1.0})
    assert (tmp_path / METRICS_FILE).read_text(encoding="utf-8") == ""
