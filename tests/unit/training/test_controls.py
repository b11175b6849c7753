"""The number of experts in evaluation: as trained, or as requested."""

import cv2
import numpy as np
import pytest

from tests.training_builders import plain_model
from training.__main__ import main
from training.data_config import FolderConfig
from training.trainer.checkpoint import save_model
from training.workflows.measure import evaluate_checkpoint


@pytest.fixture
def checkpoint(tmp_path):
    path = tmp_path / "model.safetensors"
    save_model(path, plain_model(num_experts=4, top_k=2), {})
    return path


@pytest.fixture
def data(tmp_path):
    (tmp_path / "data.yaml").write_text("names: [disc, ring]\n")
    for kind in ("images", "labels"):
        (tmp_path / kind / "val").mkdir(parents=True)
    for index in range(2):
        picture = np.full((32, 32, 3), 60 + 90 * index, np.uint8)
        cv2.imwrite(str(tmp_path / "images" / "val" / f"{index}.png"), picture)
        (tmp_path / "labels" / "val" / f"{index}.txt").write_text("0 0.5 0.5 0.5 0.5\n")
    return FolderConfig(root=str(tmp_path), split="val")


@pytest.mark.parametrize(
    ("asked", "run"),
    [
        ({}, 2),
        ({"top_k": 3}, 3),
        ({"weight_threshold": 1.0}, 1),
        ({"top_k": 4, "weight_threshold": 0.0}, 4),
        ({"top_k": 4, "weight_threshold": 1.0}, 1),
    ],
)
def test_as_many_run_as_are_asked_for(checkpoint, data, asked, run):
    found = evaluate_checkpoint(checkpoint, data, **asked)
    assert [round(sum(layer.expert_share), 6) for layer in found.experts] == len(found.experts) * [run]


@pytest.mark.parametrize("command", ["evaluate", "inspect"])
@pytest.mark.parametrize("wrong", ["-0.01", "1.01", "nan", "half"])
def test_a_threshold_is_a_probability(command, wrong, capsys):
    with pytest.raises(SystemExit) as stopped:
        main([command, "model.safetensors", f"--weight-threshold={wrong}"])
    assert stopped.value.code == 2
    assert f"{wrong!r} is not a number from 0 to 1" in capsys.readouterr().err
