"""The same seed on one thread gives the same weights bit for bit."""

from dataclasses import replace

import pytest
import torch
from safetensors.torch import load_file

from tests.training_builders import shallow
from training.config import AugmentConfig, OptimizerConfig, TrainConfig
from training.data.open import open_dataset
from training.data.scenes.scenes import CLASS_NAMES
from training.data_config import ScenesConfig
from training.models.variants import model_config
from training.trainer.checkpoint import MODEL_FILE
from training.trainer.loop import Trainer


def trained(variant, seed, folder):
    """Train for six steps, with augmentation and, for a mixture, a random top_k; return the tensors."""
    model = shallow(model_config(variant, CLASS_NAMES, (64, 64)))
    config = TrainConfig(
        model=model,
        train_data=ScenesConfig(images=6, image_hw=(64, 64)),
        augment=AugmentConfig(close_mosaic_epochs=1),
        optimizer=OptimizerConfig(name="adamw", lr=1e-3, warmup_epochs=1.0),
        epochs=2,
        batch_size=2,
        seed=seed,
        loader_workers=0,
        precision="f32",
    )
    if model.mixtures:
        config = replace(config, top_ks=(1, 2, 4))
    outcome = Trainer(config, open_dataset(config.train_data), folder).run()
    assert outcome.position.step == 6
    return load_file(folder / MODEL_FILE)


@pytest.mark.parametrize("variant", ["yolov12-n", "esmoe-n", "sparsight-n"])
def test_two_trainings_with_one_seed_end_with_the_same_weights(tmp_path, variant):
    assert torch.get_num_threads() == 1
    first, again = trained(variant, 3, tmp_path / "first"), trained(variant, 3, tmp_path / "again")
    assert [name for name, tensor in first.items() if not torch.equal(again[name], tensor)] == []
    other = trained(variant, 4, tmp_path / "other")
    assert not all(torch.equal(other[name], tensor) for name, tensor in first.items())
