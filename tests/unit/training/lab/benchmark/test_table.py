"""The benchmark table as text and as JSON, from invented figures."""

import json
from dataclasses import replace

import pytest

from training.errors import ConfigError
from training.lab.benchmark.command import Benchmark
from training.lab.benchmark.goals import Goal
from training.lab.benchmark.plot import draw
from training.lab.benchmark.profile import Profile
from training.lab.benchmark.rows import Group, Quartiles, Row
from training.lab.benchmark.subjects import Form
from training.lab.benchmark.throughput import Throughput
from training.lab.tables.benchmark import benchmark_json, benchmark_report


def around(value, spread=0.01):
    return Quartiles(value * (1 - spread), value, value * (1 + spread))


def row(label, kind, top_k, ratio, *, dense_ms=50.0, share=None, goals=()):
    return Row(
        Form(label, kind, top_k),
        8.0,
        ratio,
        around(dense_ms * ratio / 1e3),
        around(ratio),
        around(dense_ms * ratio / 40),
        share,
        goals,
    )


PLAIN = row("yolov12-n", "dense", None, 1.0, dense_ms=40)
ROWS = (
    PLAIN,
    row("esmoe-n", "dense", None, 1.0),
    row("esmoe-n", "sparse", 1, 0.81, share=0.9, goals=(Goal("share", 0.75, 0.9),)),
    row("esmoe-n", "bound", 1, 0.79),
    row("esmoe-n", "sparse", 4, 1.05, goals=(Goal("ratio", 1.03, 1.05),)),
    row("sparsight-n", "dense", None, 1.0, dense_ms=60),
    row("sparsight-n", "sparse", 0, 0.45, dense_ms=60, share=0.97),
    row("sparsight-n", "bound", 0, 0.43, dense_ms=60),
    row("sparsight-n", "sparse", 2, 0.7, dense_ms=60, share=0.95),
    row("sparsight-n", "bound", 2, 0.68, dense_ms=60),
)
GROUP = Group("openvino", "f32", 1, 30, 2, noisy=False, rows=ROWS)
RESULT = Benchmark("some processor, 2 cores", ((640, 640),), "yolov12-n", (GROUP,))


def line_of(report, *words):
    (found,) = [line for line in report.splitlines() if all(word in line for word in words)]
    return found


def test_the_table_says_what_ran_on_what_and_which_goals_are_missed():
    report = benchmark_report(RESULT)
    assert report.splitlines()[0] == "some processor, 2 cores"
    assert "640×640" in report
    assert "openvino f32, 1 thread: 30 rounds, 2 refused" in report
    sparse = line_of(report, "sparse K=1")
    for cell in ("0.810", "0.802–0.818", "40.50", "±1.0%", "90%", "≥ 75% realised met"):
        assert cell in sparse
    assert "≤ 1.03 of dense MISSED" in line_of(report, "sparse K=4")
    assert "TOO NOISY" not in report


def test_a_noisy_group_is_marked_and_one_without_rounds_has_no_rows():
    noisy = replace(RESULT, groups=(replace(GROUP, rounds=0, noisy=True, rows=()),))
    report = benchmark_report(noisy)
    assert "TOO NOISY" in report
    assert "esmoe-n" not in report
    assert noisy.noisy


def test_profiles_and_throughput_follow():
    profile = Profile(
        "esmoe-n",
        "f32",
        2,
        {"If": (0.003, 4), "Convolution": (0.009, 70)},
        {"Convolution": (0.0105, 78)},
        (("c", "If", 0.001),),
    )
    rates = tuple(
        Throughput(Form("esmoe-n", kind), "f32", rate, 2) for kind, rate in (("dense", 40), ("bound", 50))
    )
    report = benchmark_report(replace(RESULT, profiles=(profile,), throughputs=rates))
    assert "where 12.00 ms go" in line_of(report, "esmoe-n at K=2")
    assert line_of(report, "  If ", "25.0%").split() == ["If", "3.00", "25.0%", "4", "0.00", "0"]
    assert line_of(report, "  Convolution ", "75.0%").split()[-2:] == ["10.50", "78"]
    assert line_of(report, "  all ", "10.50").split() == ["all", "12.00", "10.50"]
    assert "1.250" in line_of(report, "bound", "50.0")


def test_json_has_every_figure():
    result = json.loads(benchmark_json(RESULT))
    (group,) = result["groups"]
    assert len(group["rows"]) == len(ROWS)
    assert group["rows"][2]["goals"] == [{"quantity": "share", "limit": 0.75, "value": 0.9, "met": True}]
    assert group["rows"][2]["seconds"]["median"] == pytest.approx(0.0405)


def test_the_plot_is_drawn(tmp_path):
    draw(RESULT, tmp_path / "plot.svg")
    assert (tmp_path / "plot.svg").stat().st_size > 10_000


def test_without_a_model_with_experts_there_is_nothing_to_draw(tmp_path):
    with pytest.raises(ConfigError, match="nothing to draw"):
        draw(replace(RESULT, groups=(replace(GROUP, rows=(PLAIN,)),)), tmp_path / "plot.png")
    assert list(tmp_path.iterdir()) == []
