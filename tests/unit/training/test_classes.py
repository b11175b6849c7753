"""--classes: training, evaluation and preview with some of a folder's classes."""

import json

import cv2
import numpy as np
import pytest

from tests.unit.training.command_line import failure
from training.__main__ import main
from training.data.scenes.scenes import CLASS_NAMES
from training.data_config import FolderConfig
from training.models.detector import Detector
from training.models.variants import model_config
from training.trainer.checkpoint import MODEL_FILE, load_model, save_model
from training.workflows.dataset_config import training_data


@pytest.fixture
def folder(tmp_path):
    """Return two images a split, each with a disc, a ring and a bar beside one another."""
    root = tmp_path / "shapes"
    root.mkdir()
    (root / "data.yaml").write_text("names: [disc, ring, bar]\n")
    rows = "".join(f"{class_id} {0.2 + 0.3 * class_id} 0.5 0.2 0.2\n" for class_id in range(3))
    for split in ("train", "val"):
        for kind in ("images", "labels"):
            (root / kind / split).mkdir(parents=True)
        for index in range(2):
            image = np.full((64, 64, 3), 60 + 90 * index, np.uint8)
            cv2.imwrite(str(root / "images" / split / f"{index}.png"), image)
            (root / "labels" / split / f"{index}.txt").write_text(rows)
    return root


def test_a_run_on_some_classes_is_measured_and_inspected_on_those(folder, tmp_path, capsys):
    run = tmp_path / "run"
    argv = [
        "--data",
        str(folder),
        "--input",
        "64",
        "--epochs",
        "1",
        "--batch",
        "2",
        "--workers",
        "0",
        "--quiet",
    ]
    assert main(["train", "--run", str(run), *argv, "--classes", "bar", "disc"]) == 0
    assert "on 2 images of 2 classes" in capsys.readouterr().out
    checkpoint = str(run / MODEL_FILE)
    assert load_model(run / MODEL_FILE)[0].config.class_names == ("bar", "disc")
    config = json.loads((run / "config.json").read_text(encoding="utf-8"))
    assert config["val_data"]["kept_classes"] == ["bar", "disc"]
    measured = ["evaluate", checkpoint, "--data", str(folder), "--quiet"]
    assert main([*measured, "--classes", "bar", "disc", "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["map50_by_class"].keys() == {"bar", "disc"}
    assert main(measured) == 0
    assert "objects of classes that the model does not know, left out (ring): 2" in capsys.readouterr().err
    assert main(["inspect", checkpoint, "--quiet"]) == 0  # the run's own data


@pytest.mark.parametrize(
    ("argv", "message"),
    [
        (["--classes", "disc", "square"], "no class square among disc, ring, bar"),
        (["--classes", "disc", "disc"], "--classes repeats a class: disc, disc"),
        (
            ["--recipe", "starter", "--classes", "disc"],
            "several folders with different classes: leave",
        ),
    ],
)
def test_classes_that_cannot_be_chosen_are_one_line_and_1(folder, capsys, tmp_path, argv, message):
    said = failure(capsys, "look", "--data", str(folder), "--output", str(tmp_path / "a.png"), *argv)
    assert message in said
    assert not (tmp_path / "a.png").exists()


def test_classes_of_a_run_s_own_data_are_not_chosen(capsys, tmp_path):
    path = tmp_path / "model.safetensors"
    save_model(path, Detector(model_config("sparsight-n", CLASS_NAMES, (64, 64))), {"data": "shapes"})
    assert "give --data, or leave --classes, " in failure(capsys, "inspect", str(path), "--classes", "disc")


def test_shared_classes_of_several_folders_are_chosen_in_each(tmp_path):
    data = training_data(tmp_path, "train", "voc", ("cat", "dog"))
    assert [part.kept_classes for part in data.parts] == [("cat", "dog")] * 2
    assert training_data(tmp_path, "train") == FolderConfig(root=str(tmp_path.resolve()), split="train")
