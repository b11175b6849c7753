"""Classification from the command line, from an image folder to accuracies."""

import json
from dataclasses import replace

import cv2
import numpy as np
import pytest

from tests.unit.training.command_line import failure
from training.__main__ import main
from training.data_config import ScenesConfig
from training.models.classifier import Classifier
from training.models.variants import model_config
from training.trainer.checkpoint import save_model
from training.workflows import dataset_config, train

COLOURS = {"red": (200, 30, 30), "blue": (30, 30, 200)}
OPTIONS = ("--input", "64", "--batch", "4", "--quiet")


@pytest.fixture
def folder(tmp_path):
    rng = np.random.default_rng(0)
    for split, count in (("train", 4), ("val", 3)):
        for name, colour in COLOURS.items():
            (tmp_path / "data" / split / name).mkdir(parents=True)
            for number in range(count):
                noise = rng.integers(-30, 30, (70, 90, 3))
                image = np.clip(np.array(colour) + noise, 0, 255).astype(np.uint8)
                path = tmp_path / "data" / split / name / f"{number}.png"
                path.write_bytes(cv2.imencode(".png", cv2.cvtColor(image, cv2.COLOR_RGB2BGR))[1].tobytes())
    return tmp_path / "data"


def test_an_image_folder_trains_and_is_measured_inspected_and_looked_at(capsys, tmp_path, folder):
    run = tmp_path / "run"
    argv = ["--variant", "sparsight-n-cls", "--data", str(folder), *OPTIONS]
    assert main(["train", "--run", str(run), "--epochs", "4", *argv]) == 0
    said = capsys.readouterr().out
    assert "training sparsight-n-cls on 8 images of 2 classes, 4 epochs at 64×64" in said
    assert "epoch 4: top-1 " in said
    assert f"checkpoint with the highest top1: {run / 'best.safetensors'}" in said

    checkpoint = str(run / "best.safetensors")
    assert main(["evaluate", checkpoint, "--data", str(folder), "--quiet", "--json"]) == 0
    found = json.loads(capsys.readouterr().out)
    assert found["images"] == 6
    assert found["top5"] == 1.0, "of two classes"
    assert list(found["by_class"]) == ["blue", "red"]
    assert found["top1"] == pytest.approx(sum(found["by_class"].values()) / 2), "three images of each"
    assert [use["layer"] for use in found["experts"]] == ["backbone.p4", "backbone.p5"]
    argv = ["--data", str(folder), "--quiet", "--top-k", "4", "--plots", str(tmp_path / "plots")]
    assert main(["evaluate", checkpoint, *argv]) == 0
    matrix = (tmp_path / "plots" / "confusion_matrix.csv").read_text().splitlines()
    assert matrix[0] == "labelled \\ found,blue,red"
    report = capsys.readouterr().out
    assert "6 images   top-1 " in report
    assert "  class   top-1\n" in report
    assert report.index("  blue ") < report.index("  red ")

    drawn = tmp_path / "drawn"
    drawn.mkdir()
    argv = ["inspect", checkpoint, "--data", str(folder), "--quiet", "--output", str(drawn)]
    assert main(argv) == 0
    assert "class" in capsys.readouterr().out
    assert (drawn / "experts_by_class.png").is_file()

    look = [
        "look",
        "--variant",
        "sparsight-n-cls",
        "--data",
        str(folder),
        "--output",
        str(tmp_path / "l.png"),
    ]
    assert main([*look, "--pictures", "3"]) == 0
    assert cv2.imread(str(tmp_path / "l.png")).shape[0] > 300


def test_a_classifier_is_measured_on_the_classes_that_it_shares_with_the_data(capsys, tmp_path, folder):
    path = tmp_path / "model.safetensors"
    save_model(path, Classifier(model_config("sparsight-n-cls", ("blue", "green", "yellow"), (64, 64))), {})
    measure = ["evaluate", str(path), "--data", str(folder), "--quiet", "--json"]
    assert main(measure) == 0
    captured = capsys.readouterr()
    found = json.loads(captured.out)
    assert found["images"] == 3, "the blue ones"
    assert (found["by_class"]["green"], found["by_class"]["yellow"]) == (None, None)
    assert found["top1"] == found["by_class"]["blue"]
    assert "images of classes that the model does not know, left out (red): 3" in captured.err
    assert "classes that nobody labelled, left out of the mean: green, yellow" in captured.err
    save_model(path, Classifier(model_config("sparsight-n-cls", ("green", "yellow"), (64, 64))), {})
    assert "they have no class in common" in failure(capsys, *measure)


def test_generated_scenes_have_a_class_each(capsys, monkeypatch, tmp_path):
    monkeypatch.setattr(dataset_config, "SCENES_UNSEEN", ScenesConfig(images=5, seed=1, image_hw=(64, 64)))
    monkeypatch.setattr(train, "SCENES_FOR_TRAINING", ScenesConfig(images=4, image_hw=(64, 64)))
    run = tmp_path / "run"
    overrides = {"epochs": 1, "batch_size": 4, "model.input_hw": (64, 64)}
    options = train.TrainOptions(run_dir=run, variant="yolov12-n-cls", overrides=overrides, scenes=4)
    assert train.train(options).finished
    assert main(["evaluate", str(run / "model.safetensors"), "--quiet"]) == 0
    assert "5 images   top-1 " in capsys.readouterr().out


@pytest.mark.parametrize(
    ("argv", "message"),
    [
        pytest.param(["--variant", "yolov12-n"], "but a detector learns boxes", id="a detector"),
        pytest.param(["--variant", "yolov12-n-cls", "--mosaic", "1"], "--mosaic means nothing", id="mosaic"),
        pytest.param(["--variant", "yolov12-n-cls", "--recipe", "paper"], "trains detectors", id="paper"),
        pytest.param(
            ["--variant", "yolov12-n-cls", "--split", "test"],
            "no folder for split 'test'",
            id="no such split",
        ),
    ],
)
def test_what_cannot_be_is_one_line_and_1(capsys, tmp_path, folder, argv, message):
    argv = ["train", "--run", str(tmp_path / "run"), "--data", str(folder), *argv, *OPTIONS]
    assert message in failure(capsys, *argv)


@pytest.mark.heavy
def test_a_quick_run_tells_generated_scenes_apart(capsys, tmp_path):
    argv = ["--recipe", "quick", "--variant", "sparsight-n-cls", "--input", "96", "--quiet"]
    assert main(["train", "--run", str(tmp_path), *argv]) == 0
    assert main(["evaluate", str(tmp_path / "model.safetensors"), "--json", "--quiet"]) == 0
    found = json.loads(capsys.readouterr().out.splitlines()[-1])
    assert found["top1"] > 0.6, "one in five by chance"


@pytest.mark.heavy
@pytest.mark.parametrize("of_folder", [True, False])
def test_a_classifier_is_trained_measured_and_exported_in_one_go(
    capsys, monkeypatch, tmp_path, folder, of_folder
):
    few = ScenesConfig(images=6, seed=1, image_hw=(64, 64))
    monkeypatch.setattr(dataset_config, "SCENES_UNSEEN", few)
    monkeypatch.setattr(dataset_config, "SCENES_FOR_TRAINING", replace(few, seed=0))
    argv = ["train-export", "--variant", "sparsight-n-cls", "--name", "trash", "--run", str(tmp_path / "run")]
    argv += ["--repository", str(tmp_path), "--target", "onnx", "--epochs", "1", *OPTIONS]
    assert main([*argv, "--data", str(folder)] if of_folder else argv) == 0
    said = capsys.readouterr().out
    where = f"split val of {folder}" if of_folder else "unseen generated scenes"
    assert f"measured on {where} at top_k 2:\n6 images   top-1 " in said
    manifest = json.loads((tmp_path / "trash-onnx" / "1" / "manifest.json").read_text())
    assert (manifest["task"], manifest["parity"]["metric"]["name"]) == ("classify", "top1")
    assert manifest["provenance"]["metrics"].keys() == {"val_top1", "val_top5"}
    assert manifest["baseline"]["images"] == 6
