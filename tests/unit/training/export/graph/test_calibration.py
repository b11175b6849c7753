"""The images from which 8-bit value ranges are taken."""

from dataclasses import replace

import cv2
import numpy as np
import pytest

from tests.training_builders import plain_model
from training.__main__ import main
from training.data.scenes.scenes import CLASS_NAMES
from training.data_config import FolderConfig
from training.errors import ConfigError
from training.export.targets.options import ExportOptions
from training.trainer.checkpoint import save_model
from training.workflows.dataset_config import SCENES_FOR_TRAINING, SCENES_UNSEEN, open_for
from training.workflows.export import calibration_images

INT8 = ExportOptions(precision="int8", calibration_images=3)
LEVELS = {"train": 200, "val": 50}  # of every pixel


@pytest.fixture
def folder(tmp_path):
    (tmp_path / "data.yaml").write_text("names: [disc, ring]\n")
    for split, level in LEVELS.items():
        (tmp_path / "images" / split).mkdir(parents=True)
        (tmp_path / "labels" / split).mkdir(parents=True)
        (tmp_path / "labels" / split / "0.txt").write_text("")  # images without any label file are refused
        for index in range(5):
            image = np.full((32, 32, 3), level, np.uint8)
            cv2.imwrite(str(tmp_path / "images" / split / f"{index}.png"), image)
    return tmp_path


@pytest.mark.parametrize("split", LEVELS)
def test_they_are_of_the_split_that_is_named_and_as_many_as_are_asked_for(folder, split):
    data = FolderConfig(root=str(folder), split=split)
    images = calibration_images(plain_model().config, data, INT8)
    assert [int(image.mean()) for image in images] == 3 * [LEVELS[split]]
    more = calibration_images(plain_model().config, data, replace(INT8, calibration_images=6))
    assert len(more) == 5, "there are no more"


def test_scenes_are_those_of_training(folder):
    config = replace(plain_model().config, class_names=CLASS_NAMES)
    first = calibration_images(config, SCENES_UNSEEN, INT8)[0]
    assert np.array_equal(first, open_for(config, SCENES_FOR_TRAINING).load(0).image)


def test_other_precisions_take_none(folder):
    data = FolderConfig(root=str(folder), split="none")
    assert calibration_images(plain_model().config, data, replace(INT8, precision="bf16")) == []


def test_without_data_or_without_the_split_nothing_is_measured_in_vain(folder, tmp_path, capsys):
    config = plain_model().config
    with pytest.raises(ConfigError, match="give the folder with --data"):
        calibration_images(config, None, INT8)
    save_model(tmp_path / "model.safetensors", plain_model(), {})
    argv = ["export", str(tmp_path / "model.safetensors"), "--name", "tiny", "--target", "openvino"]
    argv += ["--precision", "int8", "--data", str(folder), "--calibration-split", "test"]
    assert main([*argv, "--repository", str(tmp_path / "repository")]) == 1
    captured = capsys.readouterr()
    assert "give another --calibration-split" in captured.err
    assert "measured on" not in captured.out
