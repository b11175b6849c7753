"""The whole command on small models, and what it refuses."""

import json
from itertools import pairwise

import onnx
import pytest
from onnx import TensorProto, helper

from tests.path_builders import path_model
from tests.training_builders import plain_model
from tests.unit.training.command_line import failure
from tests.unit.training.lab.pareto.small_runs import write_data, write_run
from training import rounds
from training.__main__ import main
from training.trainer.checkpoint import MODEL_FILE


def save_peer(path):
    """Save a model of somebody else's that hands its input through; it is faster than any detector."""
    info = [helper.make_tensor_value_info(name, TensorProto.FLOAT, [1, 3, 64, 64]) for name in ("x", "y")]
    graph = helper.make_graph([helper.make_node("Identity", ["x"], ["y"])], "peer", info[:1], info[1:])
    onnx.save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=10), path)
    return str(path)


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    """Two seeds of a mixture, a network with paths, a peer, and images on which their mAP differs."""
    root, small = tmp_path_factory.mktemp("pareto"), plain_model()
    for seed in (0, 1):
        write_run(root / f"small-{seed}", small, seed=seed)
    write_run(root / "routed-0", path_model())
    write_data(root / "data", small)
    save_peer(root / "other.onnx")
    return root


def measure(capsys, monkeypatch, made, *argv):
    monkeypatch.setattr(rounds, "NOISE", float("inf"))
    data = ["--data", str(made / "data"), "--rounds", "2", "--timed-images", "2", "--quiet"]
    assert main(["pareto", *argv, *data]) == 0
    return capsys.readouterr()


@pytest.mark.heavy
def test_two_seeds_are_one_model_and_agree_with_evaluate(capsys, monkeypatch, made):
    runs = [str(made / f"small-{seed}") for seed in (0, 1)]
    peers = ["--peer", str(made / "other.onnx"), "--peer-map", "other=0.1"]
    against = ["--against", "small", "small dense", "--against", "small", "other"]
    plot = made / "plot.png"
    argv = [*runs, *peers, *against, "--weight-threshold", "0", "--weight-threshold", "0.45"]
    said = measure(capsys, monkeypatch, made, *argv, "--json", "--plot", str(plot))
    found = json.loads(said.out)
    assert (found["images"], found["timed_images"], found["rounds"]) == (4, 2, 2)
    points = {(each["series"], *(each["setting"] or {"": None}).values()): each for each in found["points"]}
    assert list(points) == [
        ("small", "sparse", 1, 0.0),
        ("small", "sparse", 2, 0.0),
        ("small", "sparse", 2, 0.45),
        ("small dense", "dense", 1, 0.0),
        ("other", None),
    ]
    for top_k, threshold in ((1, 0.0), (2, 0.0), (2, 0.45)):
        of_seeds = points["small", "sparse", top_k, threshold]["of_seeds"]
        for run, score in zip(runs, of_seeds, strict=True):
            options = ["--top-k", str(top_k), "--weight-threshold", str(threshold)]
            data = ["--data", str(made / "data"), "--json", "--quiet"]
            assert main(["evaluate", f"{run}/model.safetensors", *options, *data]) == 0
            assert json.loads(capsys.readouterr().out)["map50_95"] == pytest.approx(score)
    one, every = points["small", "sparse", 1, 0.0], points["small", "sparse", 2, 0.0]
    assert one["of_seeds"][0] > one["of_seeds"][1] > 0, "seed 0 made the labels, with one expert"
    assert one["map50_95"] == pytest.approx(sum(one["of_seeds"]) / 2)
    assert points["small dense", "dense", 1, 0.0]["map50_95"] == one["map50_95"]
    assert one["gflops"] < every["gflops"] == points["small dense", "dense", 1, 0.0]["gflops"]
    assert points["other", None]["of_seeds"] == [0.1]
    assert points["other", None]["front"], "nothing is faster"
    assert all(each["seconds"]["median"] > 0 for each in found["points"])
    with_dense, with_peer = found["at_equal_map"]
    assert with_dense["points"][0]["second"]["series"] == "small dense"
    assert with_dense["best_gain"]["median"] > 0
    assert [each["second"] for each in with_peer["points"]] == [None] * 3
    assert with_peer["best_gain"] is None
    assert plot.read_bytes().startswith(b"\x89PNG")
    assert not list(made.glob(".*partial"))

    again = measure(capsys, monkeypatch, made, *argv)
    assert again.err.count("measured before: ") == 6
    assert "measuring /" not in again.err
    lines = again.out.splitlines()
    assert "throughput at equal mAP: small against other" in lines
    assert any("nothing of other is as accurate" in line for line in lines)


@pytest.mark.heavy
def test_a_network_with_paths_runs_the_routes_of_the_images(capsys, monkeypatch, made):
    found = json.loads(measure(capsys, monkeypatch, made, str(made / "routed-0"), "--json").out)
    settings = [(each["series"], each["setting"]["top_k"]) for each in found["points"]]
    assert settings == [("routed", 1), ("routed", 2), ("routed dense", 2)]
    costs = [each["gflops"] for each in found["points"]]
    assert all(one < other for one, other in pairwise(costs))


@pytest.mark.parametrize(
    ("argv", "message"),
    [
        (["--peer", "gone.onnx"], "no peer at gone.onnx"),
        (["--peer-map", "other=0.4"], "--peer-map other: no --peer is called so; there is none"),
        (
            ["--against", "small", "large"],
            "--against large: nothing with a known mAP is called so; give one of: small, small dense",
        ),
        (["--top-k", "7"], "small runs with 1, 2 experts; give one of them to --top-k"),
        (["--plot", "plot.txt"], "the name has to end in .png, .svg, .pdf"),
    ],
)
def test_what_cannot_be_compared_is_one_line_and_nothing_is_measured(
    capsys, monkeypatch, tmp_path, made, argv, message
):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(rounds, "time_in_rounds", lambda *_, **__: pytest.fail("it times"))
    said = failure(
        capsys, "pareto", str(made / "small-0" / MODEL_FILE), "--data", str(made / "data"), "--quiet", *argv
    )
    assert message in said
    assert list(tmp_path.iterdir()) == []


def test_a_peer_called_as_a_model_and_a_map_of_no_peer_are_refused(capsys, made):
    save_peer(made / "small.onnx")
    argv = [
        "pareto",
        str(made / "small-0" / MODEL_FILE),
        "--data",
        str(made / "data"),
        "--peer",
        str(made / "small.onnx"),
    ]
    assert "two models or peers are called small; rename the peer's file" in failure(capsys, *argv)
    argv[-1] = str(made / "other.onnx")
    said = failure(capsys, *argv, "--peer-map", "others=0.4")
    assert "--peer-map others: no --peer is called so; give one of: other" in said
    said = failure(capsys, *argv, "--against", "other", "small")
    assert "--against other: nothing with a known mAP is called so" in said


@pytest.mark.parametrize("text", ["0.4", "other", "other=", "=0.4", "other=40", "other=nan"])
def test_the_map_of_a_peer_is_a_name_and_a_share(capsys, text):
    with pytest.raises(SystemExit) as stopped:
        main(["pareto", "runs/small-0", "--peer-map", text])
    assert stopped.value.code == 2
    assert "--peer-map" in capsys.readouterr().err


def test_models_with_other_classes_are_refused(capsys, made, tmp_path):
    other = path_model()
    object.__setattr__(other.config, "class_names", ("disc", "square"))
    run = write_run(tmp_path / "squares", other)
    argv = [
        "pareto",
        str(made / "small-0" / MODEL_FILE),
        str(run / MODEL_FILE),
        "--data",
        str(made / "data"),
        "--quiet",
    ]
    assert "small and squares have different classes" in failure(capsys, *argv)
