"""Gradients of a batch in parts equal those of the whole batch; frozen batch norm does not change."""

from dataclasses import replace

import pytest
import torch
from torch import nn

from tests.training_builders import settled, shallow
from training.config import AugmentConfig, TrainConfig
from training.data.loading.loader import TrainingLoader
from training.data.open import open_dataset
from training.data.scenes.scenes import CLASS_NAMES
from training.data_config import ScenesConfig
from training.errors import ConfigError
from training.losses.terms import LossTerms
from training.models.variants import model_config
from training.tasks.detect import DETECT
from training.trainer.checkpoint import MODEL_FILE, save_model
from training.trainer.loop import Trainer
from training.trainer.step import _over_parts, freeze_statistics

DENSE = TrainConfig(
    model=shallow(model_config("yolov12-n", CLASS_NAMES, (64, 64))),
    train_data=ScenesConfig(images=8, image_hw=(64, 64)),
    augment=AugmentConfig(mosaic=0),
    batch_size=8,
    freeze_batch_norm=True,
    loader_workers=0,
    precision="f32",
)


@pytest.fixture(scope="module")
def weights(tmp_path_factory):
    path = tmp_path_factory.mktemp("weights") / MODEL_FILE
    with TrainingLoader(open_dataset(DENSE.train_data), DENSE, DETECT) as loader:
        (batch,) = loader.epoch(0)
    save_model(path, settled(DENSE.model, batch.images), {})
    return path


def one_step(config, weights, run_dir):
    """The losses and the gradients, before they are clipped, of a first step."""
    trainer = Trainer(config, open_dataset(config.train_data), run_dir, initial_weights=weights)
    with TrainingLoader(trainer.dataset, config, DETECT) as loader:
        terms = trainer.stepper.take(list(loader.epoch(0)), 0)
    return terms, [p.grad.clone() for p in trainer.model.parameters()]


@pytest.mark.parametrize("parts", [2, 4])
def test_losses_and_gradients_of_parts_are_those_of_the_whole(weights, tmp_path, parts):
    config = replace(DENSE, optimizer=replace(DENSE.optimizer, clip_norm=1e9))
    whole, want = one_step(config, weights, tmp_path)
    found, got = one_step(replace(config, accumulate=parts), weights, tmp_path)
    assert whole.weight > 2 * parts, "no part is so poor in targets that it counts as 1"
    assert list(whole.parts) == ["box", "classes", "dfl", "routing"]
    pairs = {name: (one, found.parts[name]) for name, one in whole.parts.items()}
    pairs |= {"total": (whole.total, found.total), "weight": (whole.weight, found.weight)}
    for name, (one, other) in pairs.items():
        assert other.item() == pytest.approx(one.item(), rel=1e-5), name
    longest = max(gradient.norm() for gradient in want)
    assert max((a - b).norm() for a, b in zip(want, got, strict=True)) < 1e-5 * longest


class Recording(torch.amp.GradScaler):
    """Keeps what it was given to scale."""

    def __init__(self):
        super().__init__("cpu", init_scale=1024.0)
        self.given = []

    def scale(self, outputs):
        self.given.append(outputs.item())
        return super().scale(outputs)


@pytest.mark.parametrize("poor", [0, 1])
def test_the_weight_of_a_part_never_passes_through_half_precision(weights, tmp_path, poor):
    config = replace(DENSE, accumulate=2, optimizer=replace(DENSE.optimizer, clip_norm=1e9))
    trainer = Trainer(config, open_dataset(config.train_data), tmp_path, initial_weights=weights)
    stepper = replace(trainer.stepper, scaler=Recording())
    with TrainingLoader(trainer.dataset, config, DETECT) as loader:
        parts = list(loader.epoch(0))
    nothing = {name: getattr(parts[poor], name)[:0] for name in ("boxes_xyxy", "class_ids", "image_ids")}
    parts[poor] = replace(parts[poor], **nothing)
    freeze_statistics(trainer.model.train())
    alone = []
    for part in parts:
        trainer.optimizer.zero_grad()
        found = stepper._losses(part, None, softness=0.0)
        found.total.backward()
        gradients = [parameter.grad.clone() for parameter in trainer.model.parameters()]
        alone.append((found.weight.item(), found.total.item(), gradients))
    (first, _, of_first), (second, _, of_second) = alone
    assert min(first, second) == 1 < max(first, second) / 4, "parts of very unequal sums"

    stepper.take(parts, 0)
    assert stepper.scaler.given == [pytest.approx(total) for _, total, _ in alone]
    whole = first + second
    for got, a, b in zip(trainer.model.parameters(), of_first, of_second, strict=True):
        want = 2 * (first / whole * a + second / whole * b)
        assert (got.grad - want).norm() <= 1e-5 * want.norm()


def test_terms_of_routers_are_means_over_parts_by_their_targets():
    def part(total, box, routing, weight):
        parts = {"box": torch.tensor(box), "routing": torch.tensor(routing)}
        return LossTerms(torch.tensor(total), parts, torch.tensor(weight))

    both = _over_parts([part(8.0, 2.0, 1.0, 3.0), part(4.0, 4.0, 5.0, 1.0)])
    assert both.parts["box"].item() == pytest.approx((3 * 2 + 1 * 4) / 4)
    assert both.parts["routing"].item() == pytest.approx((3 * 1 + 1 * 5) / 4)
    assert both.total.item() == pytest.approx(2 * (3 * 8 + 1 * 4) / 4), "of twice as many images"
    assert both.weight.item() == 4


def test_frozen_batch_norm_keeps_its_statistics_and_learns_its_scales(weights, tmp_path):
    trainer = Trainer(DENSE, open_dataset(DENSE.train_data), tmp_path, initial_weights=weights)
    norms = [module for module in trainer.model.modules() if isinstance(module, nn.BatchNorm2d)]
    before = [(n.running_mean.clone(), n.running_var.clone(), n.weight.clone().detach()) for n in norms]
    with TrainingLoader(trainer.dataset, DENSE, DETECT) as loader:
        trainer.stepper.take(list(loader.epoch(0)), 0)
    assert trainer.model.training
    for norm, (mean, var, weight) in zip(norms, before, strict=True):
        assert torch.equal(norm.running_mean, mean)
        assert torch.equal(norm.running_var, var)
        assert not torch.equal(norm.weight, weight)
        assert norm.num_batches_tracked == norms[0].num_batches_tracked


def test_every_picture_draws_the_same_top_k_however_the_batch_is_parted(tmp_path):
    model = shallow(model_config("esmoe-n", CLASS_NAMES, (64, 64)))
    config = replace(DENSE, model=model, top_ks=(1, 2, 4), accumulate=2)
    trainer = Trainer(config, open_dataset(config.train_data), tmp_path)
    whole = trainer.stepper._seeded_top_k(3)
    state = torch.random.get_rng_state()
    second = replace(trainer.stepper, processes=replace(trainer.processes, rank=1, size=2))
    assert whole.shape == (8, 1)
    assert len(whole.unique()) > 1
    assert torch.equal(second._seeded_top_k(3), whole)
    assert not torch.equal(torch.random.get_rng_state(), state), "noise of routers is another one"
    assert not torch.equal(trainer.stepper._seeded_top_k(4), whole)


def test_f16_is_refused_on_the_cpu(tmp_path):
    config = replace(DENSE, precision="f16")
    with pytest.raises(ConfigError, match="precision f16 is for GPUs; use bf16, f32 or auto"):
        Trainer(config, open_dataset(config.train_data), tmp_path)


@pytest.mark.parametrize(("batch_size", "accumulate"), [(8, 3), (8, 16), (8, 0)])
def test_parts_that_cannot_be_even_are_refused(batch_size, accumulate):
    with pytest.raises(ConfigError, match="accumulate="):
        replace(DENSE, batch_size=batch_size, accumulate=accumulate)


def test_batch_norm_in_routers_wants_two_images_a_part_unless_it_is_frozen():
    model = shallow(model_config("modular-n", CLASS_NAMES, (64, 64)))
    with pytest.raises(ConfigError, match="needs two images, and accumulate=8 leaves 1"):
        replace(DENSE, model=model, accumulate=8, freeze_batch_norm=False)
    assert replace(DENSE, model=model, accumulate=4, freeze_batch_norm=False).accumulate == 4
    assert replace(DENSE, model=model, accumulate=8).accumulate == 8
