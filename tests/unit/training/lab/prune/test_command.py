"""The prune command: its messages and output file, and when it writes nothing."""

import hashlib
import json

import cv2
import numpy as np
import pytest
import torch
from torch import nn

from tests.training_builders import conditioned, plain_model, shallow
from tests.unit.training.data.small_data import write_image, write_xml
from tests.unit.training.messages import collecting
from training.__main__ import main
from training.errors import CheckpointError, ConfigError
from training.lab.benchmark.subjects import Form
from training.lab.prune.command import PruneOptions, prune
from training.lab.prune.latency import measure_latency, summarise
from training.lab.prune.select import Rule
from training.lab.prune.table import prune_json, prune_report
from training.models.variants import MixtureChoice, model_config
from training.rounds import Timed
from training.trainer.checkpoint import load_model, save_model
from training.workflows import train

CLASSES = ("disc", "ring")
LAYERS = ("backbone.p2", "backbone.p3", "backbone.p4", "backbone.p5")


def favouring(model, expert, by=50.0):
    """Its routers prefer one expert on every image, whatever is in it."""
    for layer in model.mixture_layers().values():
        score = layer.router.score
        assert isinstance(score, nn.Linear)
        with torch.no_grad():
            score.bias[expert] += by
    return model


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    """YOLO txt: six images to measure use on, two to score on, one alone."""
    root = tmp_path_factory.mktemp("data")
    (root / "data.yaml").write_text("names: [disc, ring]\n")
    random = np.random.default_rng(0)
    for split, count in (("train", 6), ("val", 2), ("test", 1)):
        for kind in ("images", "labels"):
            (root / split / kind).mkdir(parents=True)
        for index in range(count):
            grain = 2 ** (index % 4)
            cells = random.integers(0, 256, (64 // grain, 64 // grain, 3), dtype=np.uint8)
            image = cells.repeat(grain, axis=0).repeat(grain, axis=1)
            assert cv2.imwrite(str(root / split / "images" / f"{index}.png"), image)
            (root / split / "labels" / f"{index}.txt").write_text(f"{index % 2} 0.5 0.5 0.5 0.5\n")
    return root


@pytest.fixture(scope="module")
def checkpoint(tmp_path_factory):
    """Four experts a layer, one of which is chosen: the third, on every image."""
    path = tmp_path_factory.mktemp("run") / "model.safetensors"
    model = favouring(plain_model(num_experts=4, top_k=1), 2)
    save_model(path, model, {"recipe": "quick", "data": "cells"})
    return path


def options(checkpoint, data, tmp_path, **changes):
    rule = changes.pop("rule", Rule(min_share=0.05))
    return PruneOptions(
        **{
            "checkpoint": checkpoint,
            "output": tmp_path / "out.safetensors",
            "rule": rule,
            "data": data,
            "latency": False,
            **changes,
        }
    )


@pytest.fixture(scope="module")
def pruned(checkpoint, data, tmp_path_factory):
    chosen = options(checkpoint, data, tmp_path_factory.mktemp("pruned"))
    with collecting() as said:
        return prune(chosen), said


def test_experts_that_no_image_chose_go_and_the_rest_answers_the_same(pruned, checkpoint):
    result, said = pruned
    assert result.kept == dict.fromkeys(LAYERS, (2,))
    assert (result.measured_images, result.scored_images) == (6, 2)
    assert (result.after.map50, result.after.map50_95) == (result.before.map50, result.before.map50_95)
    assert result.after.parameters < result.before.parameters
    assert result.after.dense_gflops < result.before.dense_gflops
    assert result.after.gflops == pytest.approx({1: result.after.dense_gflops})
    assert list(result.before.gflops) == [1, 2, 3, 4]
    assert set(result.after.bits) == set(LAYERS)
    assert any("split train" in line for line in said)
    assert any("split val" in line for line in said)
    model, _ = load_model(result.output)
    assert {place: len(layer.experts) for place, layer in model.mixture_layers().items()} == dict.fromkeys(
        LAYERS, 1
    )
    images = torch.randint(0, 256, (4, 64, 64, 3), dtype=torch.uint8)
    with torch.inference_mode():
        before, after = (
            torch.cat(each.decode(each(images)), dim=-1) for each in (load_model(checkpoint)[0], model)
        )
    torch.testing.assert_close(after, before, rtol=1e-5, atol=1e-4)


def test_the_file_says_what_was_dropped_from_which_file_by_which_measurement(pruned, checkpoint, data):
    result, _ = pruned
    _, provenance = load_model(result.output)
    assert provenance == {
        "recipe": "quick",
        "data": "cells",
        "pruned from": "model.safetensors",
        "pruned from sha256": hashlib.sha256(checkpoint.read_bytes()).hexdigest(),
        "pruned by": f"keep experts that at least 5.0% of images chose; use at top_k 1 on "
        f"{data.name} train, 6 images",
        "pruned experts": "; ".join(f"{layer} 0, 1, 3" for layer in LAYERS),
    }
    assert [path.name for path in result.output.parent.iterdir()] == ["out.safetensors"]


def test_the_report_lays_before_and_after_side_by_side(pruned):
    result, _ = pruned
    text = prune_report(result)
    for part in (
        "6 images at K=1; keep experts that at least 5.0%",
        "layer        expert  of images  mean weight\nbackbone.p2       0       0.0%        0.000  dropped\n",
        "2     100.0%        1.000\n",
        "mAP and routing of both models on",
        "every kept expert runs for every image: backbone.p2, backbone.p3, backbone.p4, backbone.p5",
        "GFLOPs at K=4",
        "mAP50-95 at K=1",
        "+0.0000",
        f"wrote {result.output}",
    ):
        assert part in text
    assert "mAP is too high" not in text
    read = json.loads(prune_json(result))
    assert read["kept"]["backbone.p5"] == [2]
    assert read["before"]["parameters"] == result.before.parameters
    assert read["latency"] is None


def test_to_choose_and_to_score_on_the_same_images_is_said_to_flatter(checkpoint, data, tmp_path):
    chosen = options(checkpoint, data, tmp_path, rule=Rule(keep=2), split="test", val_split="test")
    result = prune(chosen)
    assert result.measured_images == 1
    assert all(2 in ids and len(ids) == 2 for ids in result.kept.values())
    assert result.kept["backbone.p2"] == (0, 2)  # of those that nobody chose the first
    assert "mAP is too high" in prune_report(result)


def test_a_recipe_s_own_training_data_chooses_and_its_validation_data_scores(tmp_path, capsys):
    for folder, name, splits in (
        ("bccd", "cell", {"train": 3, "val": 2}),
        ("aquarium", "fish", {"train": 2, "valid": 1}),
        ("playing_cards", "card", {"train": 6}),  # of which every fifth validates
    ):
        root = tmp_path / "open" / folder
        for part in ("Annotations", "JPEGImages", "ImageSets/Main"):
            (root / part).mkdir(parents=True)
        for split, count in splits.items():
            stems = [f"{split}{index}" for index in range(count)]
            (root / "ImageSets" / "Main" / f"{split}.txt").write_text("\n".join(stems))
            for stem in stems:
                write_image(root / "JPEGImages" / f"{stem}.jpg")
                write_xml(root / "Annotations" / f"{stem}.xml", [(name, 1, 1, 9, 9)])
    choice = MixtureChoice(num_experts=3, top_k=1)
    config = model_config("esmoe-n", ("cell", "fish", "card"), (64, 64), choice)
    model = favouring(conditioned(shallow(config)), 1)
    save_model(tmp_path / "model.safetensors", model, {"recipe": "starter"})
    asked = ["prune", str(tmp_path / "model.safetensors"), "--recipe", "starter", "--keep", "2"]
    asked += ["--output", str(tmp_path / "out.safetensors"), "--no-latency", "--quiet", "--json"]
    assert main([*asked, "--data", str(tmp_path / "open")]) == 0
    result = json.loads(capsys.readouterr().out)
    assert (result["measured_images"], result["scored_images"]) == (3 + 2 + 4, 2 + 1 + 2)
    cells, fish, cards = (tmp_path / "open" / name for name in ("bccd", "aquarium", "playing_cards"))
    assert result["measured_on"] == (
        f"split train of {cells} and split train of {fish} and split train of {cards}, folds 1, 2, 3, 4 of 5"
    )
    assert main([*asked, "--output", str(tmp_path / "another.safetensors")]) == 1
    assert "give the folder that holds bccd, aquarium and playing_cards" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        pytest.param(
            {"rule": Rule(keep=4)}, "nothing to drop: the rule is to keep the 4 most used", id="all stay"
        ),
        pytest.param({"rule": Rule(min_share=0.0)}, "nothing to drop: .* at least 0.0%", id="no use"),
        pytest.param({"top_k": 4}, "nothing to drop.*let fewer run, with --top-k", id="all run"),
        pytest.param({"rule": Rule(keep=1), "top_k": 2}, "keep=1", id="fewer than run"),
    ],
)
def test_what_cannot_be_done_writes_nothing(checkpoint, data, tmp_path, changes, message):
    with collecting() as said, pytest.raises(ConfigError, match=message):
        prune(options(checkpoint, data, tmp_path, **changes))
    assert list(tmp_path.iterdir()) == []
    assert "nothing" not in message or "of images" in said[-1]  # what use there is, is shown


def test_min_share_1_leaves_as_many_as_run(checkpoint, data, tmp_path):
    chosen = options(checkpoint, data, tmp_path, rule=Rule(min_share=1.0), top_k=3)
    result = prune(chosen)
    assert {len(ids) for ids in result.kept.values()} == {3}
    assert (result.before.top_k, result.after.top_k) == (1, 3)
    assert "mAP50 at K=1, 3" in prune_report(result)


def test_it_replaces_nothing(checkpoint, data, tmp_path):
    (tmp_path / "out.safetensors").write_text("mine")
    for output, message in (
        (tmp_path / "out.safetensors", "exists already"),
        (checkpoint, "exists already"),
        (tmp_path / "none" / "out.safetensors", "no folder"),
        (tmp_path / "out.pt", "the name must end in .safetensors"),
    ):
        with pytest.raises(CheckpointError, match=message):
            prune(options(checkpoint, data, tmp_path, output=output))
    assert (tmp_path / "out.safetensors").read_text() == "mine"


def test_the_command_line_reports_as_json_and_errors_end_with_1(checkpoint, data, tmp_path, capsys):
    output = tmp_path / "out.safetensors"
    argv = ["prune", str(checkpoint), "--data", str(data), "--output", str(output), "--keep", "2"]
    assert main([*argv, "--no-latency", "--json", "--quiet"]) == 0
    read = json.loads(capsys.readouterr().out)
    assert read["after"]["experts"] == dict.fromkeys(LAYERS, 2)
    assert main([*argv, "--no-latency", "--quiet"]) == 1
    assert "exists already" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("argv", "message"),
    [
        (["--keep", "2", "--min-share", "0.1"], "not allowed with"),
        ([], "one of the arguments --keep --min-share is required"),
        (["--keep", "0"], "not a whole number from 1"),
        (["--min-share", "1.01"], "not a number from 0 to 1"),
        (["--min-share", "nan"], "not a number from 0 to 1"),
        (["--min-share", "x"], "not a number from 0 to 1"),
    ],
)
def test_wrong_usage_is_told(capsys, argv, message):
    with pytest.raises(SystemExit) as stopped:
        main(["prune", "m.safetensors", "--output", "o.safetensors", *argv])
    assert stopped.value.code == 2
    assert message in capsys.readouterr().err


def test_ratios_are_taken_within_a_round():
    times = {"before": (2.0, 4.0), "after": (1.0, 3.0)}
    seconds = {Form(label, kind): times[label] for label in times for kind in ("dense", "twin", "sparse")}
    latency = summarise(Timed(seconds, rounds=2, refused=1, noisy=False))
    assert (latency.rounds, latency.refused) == (2, 1)
    for pair in latency.pairs.values():
        assert (pair.before_s.median, pair.after_s.median) == (3.0, 2.0)
        assert pair.ratio.median == pytest.approx((0.5 + 0.75) / 2)
    assert latency.noise is not None
    assert latency.noise.median == 1.0
    nothing = summarise(Timed(dict.fromkeys(seconds, ()), rounds=0, refused=4, noisy=True))
    assert (dict(nothing.pairs), nothing.noise) == ({}, None)


@pytest.mark.heavy
def test_both_are_timed_in_turn():
    before, after = plain_model(num_experts=2, top_k=1), plain_model(num_experts=1, top_k=1)
    latency = measure_latency(before, after, rounds=2)
    assert latency.noisy == (latency.rounds < 2)
    assert set(latency.pairs) == ({"dense", "sparse"} if latency.rounds else set())
    for pair in latency.pairs.values():
        assert pair.after_s.median > 0


def test_what_is_pruned_is_trained_further_in_its_own_shape(pruned, data, tmp_path):
    result, _ = pruned
    overrides = {"epochs": 1, "batch_size": 2}
    wanted = train.TrainOptions(run_dir=tmp_path / "run", data=data, like=result.output, overrides=overrides)
    with collecting() as said:
        outcome = train.train(wanted)
    model, _ = load_model(outcome.model_path)
    assert model.config == load_model(result.output)[0].config
    assert not any("start anew" in line for line in said)


def test_a_model_like_another_leaves_no_other_choice(pruned, data, tmp_path, capsys):
    result, _ = pruned
    for other in ({"weights": result.output}, {"mixture": MixtureChoice(num_experts=4)}):
        wanted = train.TrainOptions(run_dir=tmp_path / "run", data=data, like=result.output, **other)
        with pytest.raises(ConfigError, match="or --like"):
            train.train(wanted)
    with pytest.raises(SystemExit):
        main(["train", "--run", "r", "--variant", "esmoe-s", "--like", str(result.output)])
    assert "not allowed with" in capsys.readouterr().err
