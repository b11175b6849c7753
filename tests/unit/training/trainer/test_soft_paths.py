"""Training of networks with paths: the softness of each step, and what a checkpoint stores."""

import signal
from dataclasses import replace

import pytest
import torch
from safetensors.torch import load_file

from tests.training_builders import shallow
from training.config import AugmentConfig, OptimizerConfig, TrainConfig
from training.config_json import to_json, train_from_json
from training.data.open import open_dataset
from training.data.scenes.scenes import CLASS_NAMES
from training.data_config import ScenesConfig
from training.models.variants import MixtureChoice, model_config
from training.trainer.checkpoint import MODEL_FILE, load_model
from training.trainer.loop import Trainer
from training.trainer.optimizer import path_softness
from training.workflows.halve import halve

CHOICE = MixtureChoice(paths=3, num_experts=2, top_k=1)
CONFIG = TrainConfig(
    model=shallow(model_config("sparsight-path-n", CLASS_NAMES, (64, 64), CHOICE)),
    train_data=ScenesConfig(images=4, image_hw=(64, 64)),
    augment=AugmentConfig(mosaic=0),
    optimizer=OptimizerConfig(name="adamw", lr=1e-3, warmup_epochs=1.0, ema_decay=0.9, ema_tau_steps=5),
    epochs=4,
    batch_size=2,
    top_ks=(1, 2),
    loader_workers=0,
    precision="f32",
)  # 8 steps


@pytest.mark.parametrize(
    ("soft_paths", "want"),
    [
        (0.5, [1.0, 0.75, 0.5, 0.25, 0.0, 0.0, 0.0, 0.0]),
        (1.0, [1.0, 0.875, 0.75, 0.625, 0.5, 0.375, 0.25, 0.125]),
        (0.125, [1.0] + [0.0] * 7),
        (0.0, [0.0] * 8),
    ],
)
def test_softness_falls_from_one_to_zero_over_the_share_of_the_run(soft_paths, want):
    config = replace(CONFIG, soft_paths=soft_paths)
    assert [path_softness(config, step, 8) for step in range(8)] == pytest.approx(want)


def recording(trainer, softness):
    """Let a trainer append the softness of each step to a list."""
    take_step = trainer._step

    def step(parts, soft):
        softness.append(soft)
        return take_step(parts, soft)

    trainer._step = step
    return trainer


def test_a_stopped_run_goes_on_with_the_same_softness_to_the_same_model(tmp_path):
    data = open_dataset(CONFIG.train_data)
    whole, parted = [], []
    recording(Trainer(CONFIG, data, tmp_path / "whole"), whole).run()
    stopped = recording(Trainer(CONFIG, data, tmp_path / "parted"), parted)
    take_step = stopped._step

    def step_and_interrupt(*given):
        if stopped.position.step == 2:
            signal.raise_signal(signal.SIGINT)
        return take_step(*given)

    stopped._step = step_and_interrupt
    assert not stopped.run().finished
    resumed = Trainer(CONFIG, data, tmp_path / "parted")
    resumed.resume()
    recording(resumed, parted).run()
    assert whole == parted == [1.0, 0.75, 0.5, 0.25, 0.0, 0.0, 0.0, 0.0]
    one, other = (load_file(tmp_path / name / MODEL_FILE) for name in ("whole", "parted"))
    assert any(name.startswith("path_router.") for name in one)
    assert all(torch.equal(one[name], other[name]) for name in one)


def test_softness_reaches_the_network(tmp_path):
    trainer = Trainer(CONFIG, open_dataset(CONFIG.train_data), tmp_path)
    seen = []
    trainer.model.register_forward_hook(lambda model, given, found: seen.append((given[1], found.path)))
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("training.trainer.loop.path_softness", lambda *_: 0.5)
        trainer.run()
    controls, path = seen[0]
    assert controls.softness == 0.5
    assert set(controls.top_k.flatten().tolist()) <= {1, 2}
    best = (path.probs == path.probs.amax(dim=1, keepdim=True)).float()
    assert torch.allclose(path.gate, (path.probs + best) / 2)


def test_a_checkpoint_has_the_router_the_scores_and_their_configuration(tmp_path):
    trainer = Trainer(CONFIG, open_dataset(CONFIG.train_data), tmp_path)
    trainer.run()
    model, _ = load_model(tmp_path / MODEL_FILE)
    assert model.config == CONFIG.model
    assert train_from_json(to_json(CONFIG)) == CONFIG
    halve(tmp_path / MODEL_FILE, tmp_path / "half.safetensors")
    half, _ = load_model(tmp_path / "half.safetensors")
    images = torch.zeros(1, 64, 64, 3, dtype=torch.uint8)
    with torch.no_grad():
        found, rounded = (each.eval()(images) for each in (model, half))
    assert torch.allclose(found.path.probs, rounded.path.probs, atol=1e-2)
    for name, tensor in half.state_dict().items():
        if name.endswith(".router.score.weight"):
            assert tensor.shape == (2, 3)
            assert torch.equal(tensor, model.state_dict()[name].half().float())
