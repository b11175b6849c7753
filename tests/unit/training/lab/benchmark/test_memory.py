"""The memory of loaded graphs is that of fresh processes, and `--memory` takes no options of times."""

import json
import logging
import subprocess
import sys
from pathlib import Path

import numpy as np
import openvino as ov
import openvino.opset15 as ops
import pytest

import training
from tests.path_builders import path_model
from training.__main__ import main
from training.export.graph.shared_weights import share_weights
from training.lab.benchmark import loaded, memory
from training.lab.benchmark.memory import MemoryReport, MemoryRow, Spread
from training.lab.benchmark.subjects import Subject
from training.lab.tables.memory import memory_json, memory_report
from training.trainer.checkpoint import MODEL_FILE, save_model

SIDE = 2048
WEIGHTS_MB = SIDE * SIDE * 4 / 2**20  # 16


@pytest.mark.parametrize(
    ("argv", "message"),
    [
        (["--peer", "other.onnx"], "leave --peer out"),
        (["--engine", "torch"], "leave --engine out"),
        (["--batch", "4"], "leave --batch out"),
        (["--profile"], "leave --profile and --throughput out"),
        (["--throughput"], "leave --profile and --throughput out"),
        (["--threads", "1", "--threads", "2"], "give --threads once"),
        (["--plot", "plot.png"], "--plot draws times"),
    ],
)
def test_options_of_times_are_refused(capsys, argv, message):
    assert main(["benchmark", "--memory", "--quiet", *argv]) == 1
    assert message in capsys.readouterr().err


def test_a_system_that_states_no_memory_is_refused(capsys, monkeypatch, tmp_path):
    monkeypatch.setattr(loaded, "STATUS", tmp_path / "status")
    assert main(["benchmark", "--memory", "--quiet"]) == 1
    assert "which only Linux has" in capsys.readouterr().err


def memory_of(folder, graphs, read=(), weights=None):
    """Return the memory of a process that has loaded some graphs and read others, in MB."""
    np.savez(folder / "inputs.npz", x=np.zeros((1, SIDE), np.float32))
    argv = [folder / "inputs.npz", "f32", "1", *graphs, "--read", *read]
    argv += [] if weights is None else ["--weights", weights]
    command = [sys.executable, "-m", loaded.__name__, *map(str, argv)]
    root = Path(training.__file__).parents[1]
    return json.loads(subprocess.run(command, cwd=root, capture_output=True, check=True).stdout)


def save_graphs(folder, seeds):
    """Write a graph with WEIGHTS_MB random weights for each seed."""
    paths = []
    for number, seed in enumerate(seeds):
        weights = np.random.default_rng(seed).random((SIDE, SIDE), dtype=np.float32)
        x = ops.parameter((1, SIDE), np.float32)
        x.output(0).set_names({"x"})
        paths.append(folder / f"{number}.xml")
        ov.save_model(
            ov.Model([ops.matmul(x, weights, False, False)], [x]), paths[-1], compress_to_fp16=False
        )
    return paths


def test_a_process_holds_the_weights_of_what_it_loaded_and_what_it_read(tmp_path):
    paths = save_graphs(tmp_path, (0, 1))
    none, one, both, also_read = (
        memory_of(tmp_path, *each) for each in ([[]], [paths[:1]], [paths], [paths[:1], paths[1:]])
    )
    assert one["own_mb"] > none["own_mb"] + WEIGHTS_MB
    assert both["own_mb"] > one["own_mb"] + WEIGHTS_MB
    assert also_read["own_mb"] == pytest.approx(one["own_mb"] + WEIGHTS_MB, abs=WEIGHTS_MB / 4)
    assert all(each["rss_mb"] > each["own_mb"] for each in (none, one, both, also_read))


def test_weights_that_graphs_share_are_read_once(tmp_path):
    paths, weights = save_graphs(tmp_path, (0, 0, 0, 1)), tmp_path / "weights.bin"
    share_weights(paths[:3], weights)
    one, three, with_own = (
        memory_of(tmp_path, [], read, weights) for read in (paths[:1], paths[:3], paths[2:])
    )
    assert three["own_mb"] == pytest.approx(one["own_mb"], abs=WEIGHTS_MB / 4)
    assert with_own["own_mb"] == pytest.approx(one["own_mb"] + WEIGHTS_MB, abs=WEIGHTS_MB / 4)


@pytest.mark.heavy
def test_quantising_prints_nothing_into_the_table(capfd, caplog, tmp_path):
    caplog.set_level(logging.INFO, "training")  # as without --quiet
    subject = Subject("tiny", path_model(count=2), (1, 2))
    memory._build_routes(subject, True, tmp_path / "routes")
    assert len(list((tmp_path / "routes").glob("*.xml"))) == 5
    assert sorted(path.name for path in (tmp_path / "routes").glob("*.bin")) == ["router.bin", "weights.bin"]
    assert capfd.readouterr().out == ""


@pytest.mark.heavy
def test_all_routes_of_a_network_take_more_than_its_usual_ones(capsys, monkeypatch, tmp_path):
    monkeypatch.setattr(memory, "PROCESSES", 2)
    save_model(tmp_path / MODEL_FILE, path_model(count=2), {})
    argv = [str(tmp_path / MODEL_FILE), "--variant", "yolov12-n", "--input", "64", "--json", "--quiet"]
    assert main(["benchmark", "--memory", *argv]) == 0
    result = json.loads(capsys.readouterr().out)
    every, usual, plain = result["rows"]
    assert [row["what"] for row in result["rows"]] == ["all routes", "routes of K=2", "dense"]
    assert [row["graphs"] for row in result["rows"]] == [5, 3, 1]
    assert every["files_mb"] == usual["files_mb"] > 1
    assert every["own_mb"]["median"] > usual["own_mb"]["median"]
    for row in result["rows"]:
        rss = row["rss_mb"]
        assert result["empty"]["most"] < rss["least"] <= rss["median"] <= rss["most"]
    assert plain["label"] == "yolov12-n"


def test_the_table_states_the_spread():
    row = MemoryRow(
        "routed", "all routes", "int8", 17, 48.04, Spread(299.6, 301, 304), Spread(240, 241, 242.4)
    )
    result = MemoryReport("some processor", ((640, 640),), 1, 5, Spread(55, 56, 57), (row,))
    lines = memory_report(result).splitlines()
    assert "640×640; openvino, 1 thread; 5 processes for each row" in lines
    assert lines[-2].split() == ["no", "model", "0", "56", "55–57"]
    cells = ["routed", "all", "routes", "int8", "17", "48.0", "301", "300–304", "241", "240–242"]
    assert lines[-1].split() == cells
    assert json.loads(memory_json(result))["rows"][0]["rss_mb"]["most"] == 304
