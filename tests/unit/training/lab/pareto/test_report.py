"""The report, the JSON and the drawing of a comparison, from invented figures."""

import json
from dataclasses import replace

import pytest
from matplotlib.container import ErrorbarContainer

from training.lab.pareto import plot
from training.lab.pareto.candidates import Setting
from training.lab.pareto.command import Pareto
from training.lab.pareto.points import Point, match_at_equal_map, pareto_front
from training.lab.tables.pareto import pareto_json, pareto_report


def point(series, ms, *scores, top_k=None, execution="sparse", threshold=0.0):
    setting = None if top_k is None else Setting(execution, top_k, threshold)
    return Point(series, setting, (256, 320), scores, 1.5, tuple(each / 1e3 for each in (ms, ms, ms)))


POINTS = (
    point("mixture", 4, 0.38, 0.42, 0.40, top_k=1),
    point("mixture", 6, 0.41, 0.45, 0.43, top_k=2, threshold=0.1),
    point("mixture dense", 9, 0.41, 0.45, 0.43, top_k=2, execution="dense"),
    point("dense", 5, 0.39),
    Point("known", None, None, (0.5,), None, (0.02, 0.02, 0.02)),
    Point("other", None, None, (), None, (0.003, 0.003, 0.003)),
)
PAIRS = (("mixture", "mixture dense"), ("mixture", "dense"), ("known", "mixture"))
RESULT = Pareto(
    machine="a machine",
    data="split val of cells",
    metric="mAP",
    images=120,
    timed_images=8,
    precision="f32",
    threads=1,
    rounds=3,
    refused=1,
    noisy=False,
    points=POINTS,
    front=tuple(pareto_front(POINTS)),
    matched={pair: tuple(match_at_equal_map(POINTS, *pair)) for pair in PAIRS},
    left_out=("runs/mixture-3: not finished, epoch 1 of 16",),
)


def test_the_report_has_every_point_its_range_and_the_front():
    lines = pareto_report(RESULT).splitlines()
    assert lines[:4] == [
        "a machine",
        "accuracy: mAP50-95 in PyTorch, float32, on 120 images of split val of cells",
        "time: openvino f32, 1 thread; 8 of the images timed; 3 rounds, 1 refused",
        "left out: runs/mixture-3: not finished, epoch 1 of 16",
    ]
    rows = [" ".join(line.split()) for line in lines[5:12]]
    assert rows[0] == "model input seeds mAP50-95 of seeds GFLOPs ms images/s front"
    assert rows[1] == "mixture K=1 256×320 3 40.00 38.00 to 42.00 1.50 4.00 ±0.0% 250.0 *"
    assert rows[2] == "mixture K=2 P=0.1 256×320 3 43.00 41.00 to 45.00 1.50 6.00 ±0.0% 166.7 *"
    assert rows[3] == "mixture dense K=2 256×320 3 43.00 41.00 to 45.00 1.50 9.00 ±0.0% 111.1"
    assert rows[4] == "dense 256×320 1 39.00 1.50 5.00 ±0.0% 200.0"
    assert rows[5] == "known 50.00 20.00 ±0.0% 50.0 *"
    assert rows[6] == "other 3.00 ±0.0% 333.3", "fast, but nobody knows how accurate"


def test_the_report_states_the_throughput_at_equal_map():
    text = pareto_report(RESULT)
    first, second, third = text.split("throughput at equal mAP: ")[1:]
    assert first.startswith("mixture against mixture dense\n")
    rows = [" ".join(line.split()) for line in first.splitlines()[3:5]]
    assert rows[0] == "K=1 40.00 4.00 K=2 43.00 9.00 2.250 2.250–2.250"
    assert rows[1] == "K=2 P=0.1 43.00 6.00 K=2 43.00 9.00 1.500 1.500–1.500"
    assert "  best: 2.250 times the throughput, at K=1" in first
    assert "nothing of dense is as accurate" in second, "for both points of the mixture"
    assert "best" not in second
    assert "nothing of mixture is as accurate" in third


def test_the_json_has_what_the_report_says():
    found = json.loads(pareto_json(RESULT))
    assert [each["front"] for each in found["points"]] == [True, True, False, False, True, False]
    assert found["points"][0]["of_seeds"] == [0.38, 0.42, 0.40]
    assert found["points"][1]["setting"] == {"execution": "sparse", "top_k": 2, "weight_threshold": 0.1}
    assert found["points"][-1]["map50_95"] is None
    pair = found["at_equal_map"][0]
    assert (pair["first"], pair["second"], pair["margin"]) == ("mixture", "mixture dense", 0.001)
    assert pair["best_gain"]["median"] == pytest.approx(2.25)
    assert [each["gain"] for each in found["at_equal_map"][1]["points"]] == [None, None]


def test_a_noisy_machine_is_named_and_without_a_quiet_round_there_are_no_times():
    assert "TOO NOISY" in pareto_report(replace(RESULT, noisy=True))
    nothing = replace(RESULT, noisy=True, rounds=0, points=(), front=(), matched=dict.fromkeys(PAIRS, ()))
    lines = pareto_report(nothing).splitlines()
    assert lines[-1].startswith("TOO NOISY")
    assert json.loads(pareto_json(nothing))["points"] == []


def test_the_drawing_has_a_line_for_each_model_bars_for_seeds_and_a_rule_for_a_time_alone():
    (axes,) = plot.figure_of(RESULT).axes
    drawn = {each.get_label(): each for each in axes.containers if isinstance(each, ErrorbarContainer)}
    assert list(drawn) == ["mixture", "mixture dense", "dense", "known"]
    line, _, (bars,) = drawn["mixture"].lines
    assert line.get_xydata().tolist() == [[4, 40], [6, pytest.approx(43)]]
    low, high = bars.get_segments()[0]
    assert (low.tolist(), high.tolist()) == ([4, pytest.approx(38)], [4, pytest.approx(42)])
    looks = {name: (each.lines[0].get_marker(), each.lines[0].get_color()) for name, each in drawn.items()}
    assert looks["mixture"] == looks["mixture dense"], "one model"
    fills = [drawn[name].lines[0].get_fillstyle() for name in ("mixture", "mixture dense")]
    assert fills == ["full", "left"]
    assert len({marker for marker, _ in looks.values()}) == 3, "colour is not the only difference"
    (front,) = [each for each in axes.lines if each.get_label() == "Pareto front"]
    assert front.get_xdata().tolist() == [4, 6, 20]
    texts = [each.get_text() for each in axes.texts]
    assert {"K=1", "K=2 P=0.1", "other, time only"} <= set(texts)
    assert [each.get_xdata()[0] for each in axes.lines if each.get_linestyle() == ":"] == [3]


@pytest.mark.parametrize("ending", ["png", "svg", "pdf"])
def test_a_drawing_replaces_an_old_one_only_when_it_is_whole(monkeypatch, tmp_path, ending):
    path = tmp_path / f"plot.{ending}"
    path.write_bytes(b"old")
    with monkeypatch.context() as broken:
        broken.setattr(plot, "figure_of", lambda _: BrokenFigure())
        with pytest.raises(OSError, match="disk full"):
            plot.draw(RESULT, path)
    assert [(each.name, each.read_bytes()) for each in tmp_path.iterdir()] == [(path.name, b"old")]
    plot.draw(RESULT, path)
    assert path.read_bytes().startswith({"png": b"\x89PNG", "svg": b"<?xml", "pdf": b"%PDF"}[ending])
    assert list(tmp_path.iterdir()) == [path]


class BrokenFigure:
    """A figure whose file cannot be written to its end."""

    def savefig(self, path, **_):
        path.write_bytes(b"half")
        raise OSError("disk full")
