"""--data FILE, --format and --hold-out: how the commands read a folder."""

import json

import cv2
import numpy as np
import pytest

from tests.unit.training.command_line import failure
from training.__main__ import main
from training.cli.commands import build_parser
from training.cli.data_flags import measured
from training.cli.run_flags import train_options
from training.data_config import FolderConfig, Reading
from training.trainer.checkpoint import MODEL_FILE, Position
from training.trainer.loop import Outcome
from training.workflows import dataset_config, export, train
from training.workflows.dataset_config import data_name, described, measured_data, training_data
from training.workflows.train import TrainOptions, data_configs


@pytest.fixture
def folder(tmp_path):
    """Ten images that differ, without a validation split."""
    root = tmp_path / "cells"
    for kind in ("images", "labels"):
        (root / kind).mkdir(parents=True)
    (root / "data.yaml").write_text("train: images\nnames: [disc]\n")
    for index in range(10):
        cv2.imwrite(str(root / "images" / f"{index}.png"), np.full((64, 64, 3), 20 * index, np.uint8))
        (root / "labels" / f"{index}.txt").write_text("0 0.5 0.5 0.4 0.4\n")
    return root


def parsed(*argv):
    return build_parser(argv).parse_args(argv)


def test_training_and_validation_are_two_sides_of_one_split():
    options = train_options(parsed("train", "--run", "r", "--data", "/cells", "--hold-out", "0.2"))
    whole = FolderConfig(root="/cells", split="train", hold_out=0.2)
    assert data_configs(options) == (whole, FolderConfig(root="/cells", hold_out=0.2, held_out=True))
    assert (data_name(whole), described(whole)) == (
        "cells train, without the 20 % held out",
        "split train of /cells, without the 20 % held out",
    )


def test_the_bits_of_deep_images_reach_training_and_measuring(capsys):
    options = train_options(parsed("train", "--run", "r", "--data", "/cells", "--bits", "12"))
    assert [data.bits for data in data_configs(options)] == [12, 12]
    assert measured(parsed("evaluate", "m.safetensors", "--data", "/cells", "--bits", "8")).bits == 8
    for outside in ("7", "17"):
        with pytest.raises(SystemExit):
            parsed("evaluate", "m.safetensors", "--data", "/cells", "--bits", outside)
    assert "invalid choice: 17" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("argv", "split"), [([], "train"), (["--split", "all"], "all"), (["--format", "yolo"], "train")]
)
@pytest.mark.parametrize("command", ["evaluate m.safetensors", "compare a.safetensors b.safetensors"])
def test_the_commands_that_measure_take_the_images_held_out(command, argv, split):
    found = measured(parsed(*command.split(), "--data", "/cells", "--hold-out", "0.3", *argv))
    form = "yolo" if argv == ["--format", "yolo"] else ""
    assert found == FolderConfig(root="/cells", split=split, format=form, hold_out=0.3, held_out=True)


def test_a_run_holds_out_images_and_evaluate_measures_on_the_same(folder, tmp_path, capsys):
    argv = ["--data", str(folder / "data.yaml"), "--hold-out", "0.3", "--quiet"]
    small = ["--input", "64", "--epochs", "1", "--batch", "2", "--workers", "0"]
    run = tmp_path / "run"
    assert main(["train", "--run", str(run), *argv, *small]) == 0
    said = capsys.readouterr().out
    validation = measured_data(folder, "train", reading=Reading(hold_out=0.3))
    held_out = len(dataset_config.open_dataset(validation))
    assert 1 <= held_out <= 6
    assert f"held out: {held_out} of 10 images" in said
    assert f"on {10 - held_out} images of 1 classes" in said
    config = json.loads((run / "config.json").read_text(encoding="utf-8"))
    assert (config["val_data"]["hold_out"], config["val_data"]["held_out"]) == (0.3, True)
    assert main(["evaluate", str(run / MODEL_FILE), *argv, "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["images"] == held_out


def test_an_export_after_training_is_measured_on_the_images_held_out(monkeypatch, tmp_path):
    done = Outcome(True, Position(epoch=1, batch=0, step=1), tmp_path / "model.safetensors")
    given = []
    monkeypatch.setattr(train, "train", lambda *_, **__: done)
    monkeypatch.setattr(
        export, "export", lambda *_, data, calibration, **__: given.extend((data, calibration)) or []
    )
    assert main(["train-export", "--data", "/cells", "--hold-out", "0.2"]) == 0
    assert given == [
        FolderConfig(root="/cells", hold_out=0.2, held_out=True),
        FolderConfig(root="/cells", hold_out=0.2),
    ]


@pytest.mark.parametrize(
    ("argv", "message"),
    [
        (["--hold-out", "0.2"], "--data, or leave --hold-out out"),
        (["--format", "yolo"], "--data, or leave --format out"),
        (["--data", "x", "--hold-out", "0.2", "--val-split", "val"], "leave --val-split out"),
        (["--data", "x", "--hold-out", "0.2", "--recipe", "coco"], "leave --hold-out out"),
        (["--data", "x", "--hold-out", "1"], "hold_out=1 must be at least 0 and less than 1"),
    ],
)
def test_a_share_that_cannot_be_held_out_is_refused(capsys, argv, message):
    assert message in failure(capsys, "train", "--run", "r", *argv)


@pytest.mark.parametrize("share", ["20", "-0.2", "a fifth"])
def test_a_share_is_a_number_from_0_to_1(capsys, share):
    with pytest.raises(SystemExit):
        parsed("train", "--run", "r", "--data", "x", f"--hold-out={share}")
    assert "is not a number from 0 to 1" in capsys.readouterr().err


def test_without_validation_images_the_error_says_how_to_hold_some_out(folder, tmp_path, capsys):
    said = failure(capsys, "train", "--run", str(tmp_path / "run"), "--data", str(folder), "--quiet")
    assert "no images for split 'val'" in said
    assert "--hold-out 0.2" in said


def test_a_folder_is_read_as_the_named_format():
    reading = Reading(format="coco")
    assert training_data("/cells", "train", reading=reading) == FolderConfig(root="/cells", format="coco")
    options = TrainOptions(run_dir="r", data="/cells", reading=reading)
    assert data_configs(options)[1] == FolderConfig(root="/cells", split="val", format="coco")


def test_the_name_of_data_in_a_file_is_that_of_its_folder(folder):
    assert data_name(FolderConfig(root=str(folder / "data.yaml"))) == "cells train"
