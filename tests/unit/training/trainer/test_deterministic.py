"""Deterministic algorithms are on during a run, and off after it."""

import os
from dataclasses import replace

import pytest
import torch

from tests.training_builders import shallow
from training.config import TrainConfig
from training.data.open import open_dataset
from training.data.scenes.scenes import CLASS_NAMES
from training.data_config import ScenesConfig
from training.models.variants import model_config
from training.trainer.deterministic import deterministic_algorithms
from training.trainer.loop import Trainer

CONFIG = TrainConfig(
    model=shallow(model_config("sparsight-n", CLASS_NAMES, (64, 64))),
    train_data=ScenesConfig(images=2, image_hw=(64, 64)),
    epochs=1,
    batch_size=2,
    deterministic=True,
    loader_workers=0,
    precision="f32",
)


def settings():
    return (
        torch.are_deterministic_algorithms_enabled(),
        torch.is_deterministic_algorithms_warn_only_enabled(),
        torch.backends.cudnn.deterministic,
        torch.backends.cudnn.benchmark,
        os.environ.get("CUBLAS_WORKSPACE_CONFIG"),
    )


@pytest.mark.parametrize("wanted", [True, False])
def test_a_run_has_them_if_it_wants_them_and_leaves_none_behind(tmp_path, wanted):
    before, inside = settings(), []
    config = replace(CONFIG, deterministic=wanted)
    trainer = Trainer(config, open_dataset(config.train_data), tmp_path)
    assert trainer.run(lambda model: inside.append(settings()) or {}).finished
    assert inside == ([(True, False, True, False, ":4096:8")] if wanted else [before])
    assert settings() == before


def test_what_was_set_before_is_set_again(monkeypatch):
    monkeypatch.setenv("CUBLAS_WORKSPACE_CONFIG", ":16:8")
    torch.use_deterministic_algorithms(True, warn_only=True)
    try:
        before = settings()
        with deterministic_algorithms(True):
            assert settings() == (True, False, True, False, ":16:8"), "the user's choice of two stands"
        assert settings() == before
    finally:
        torch.use_deterministic_algorithms(False)
