"""Steps in which images with one expert learn from the same network with all experts."""

import signal
from dataclasses import replace

import pytest
import torch
from safetensors.torch import load_file

from tests.training_builders import settled, shallow
from training.config import AugmentConfig, LossConfig
from training.data.loading.loader import TrainingLoader
from training.data.open import open_dataset
from training.data_config import ScenesConfig
from training.errors import ConfigError
from training.losses.distillation import detector_distillation
from training.models.families.choose import parse_variant
from training.recipes.recipes import Request, build_config
from training.tasks.choose import task_named
from training.trainer.checkpoint import MODEL_FILE, STATE_FILE, save_model
from training.trainer.loop import Trainer
from training.trainer.step import STEPS_APART, freeze_statistics
from training.trainer.teacher import teacher_answer

SIDE = (64, 64)
DETECTORS = ("sparsight-n", "sparsight-path-n")
OF_ALL_TASKS = (*DETECTORS, *(f"sparsight-n-{task}" for task in ("seg", "pose", "obb", "cls")))
IMAGES = 8
SHARED = 2.5  # any weight


def config_of(variant, distill=SHARED, **settings):
    """Return the configuration of a run of one step, in float32, whose images draw 1, 2 or 4 experts."""
    task = task_named(parse_variant(variant).task)
    scenes = ScenesConfig(images=IMAGES, image_hw=SIDE, labels=task.labels)
    data = open_dataset(scenes)
    overrides = {"model.input_hw": SIDE, "batch_size": IMAGES, "loss.distill": distill}
    request = Request(
        class_names=data.class_names,
        train_data=scenes,
        variant=variant,
        skeleton=data.skeleton,
        overrides=overrides,
    )
    config = replace(build_config("quick", request), loader_workers=0, precision="f32", seed=1)
    still = AugmentConfig(mosaic=0, hsv_hue=0, flip_horizontal=0)
    return replace(config, model=shallow(config.model), augment=still, **settings)


def trainer_of(config, run_dir, weights=None):
    return Trainer(config, open_dataset(config.train_data), run_dir, initial_weights=weights)


def batches_of(trainer):
    with TrainingLoader(trainer.dataset, trainer.config, trainer.task) as loader:
        return list(loader.epoch(0))


def one_step(config, run_dir, weights=None):
    trainer = trainer_of(config, run_dir, weights)
    return trainer, trainer.stepper.take(batches_of(trainer), 0, softness=0.5)


def settled_run(config, run_dir):
    """Return a run with weights whose batch norms have the statistics of its images, and their file."""
    weights = run_dir / "weights.safetensors"
    (batch,) = batches_of(trainer_of(config, run_dir))
    save_model(weights, settled(config.model, batch.images), {})
    return trainer_of(config, run_dir, weights), weights


def gradients(trainer):
    return torch.cat([each.grad.flatten() for each in trainer.model.parameters() if each.grad is not None])


@pytest.mark.parametrize("variant", OF_ALL_TASKS)
def test_the_term_comes_on_top_and_nothing_else_of_the_step_changes(variant, tmp_path):
    plain, without = one_step(config_of(variant, 0.0), tmp_path)
    taught, terms = one_step(config_of(variant), tmp_path)
    assert list(terms.parts) == [*without.parts, "distill"]
    assert all(torch.equal(terms.parts[name], each) for name, each in without.parts.items())
    assert torch.equal(terms.weight, without.weight)
    assert terms.parts["distill"] > 0
    more = SHARED * IMAGES * terms.parts["distill"]
    assert terms.total.item() == pytest.approx((without.total + more).item(), rel=1e-6)
    pairs = zip(plain.model.named_buffers(), taught.model.named_buffers(), strict=True)
    assert all(torch.equal(one, other) for (_, one), (_, other) in pairs), "statistics of batch norms"
    assert (gradients(plain) - gradients(taught)).norm() > 0
    assert torch.isfinite(gradients(taught)).all()


@pytest.mark.parametrize("variant", DETECTORS)
def test_images_with_the_fewest_experts_learn_from_all_experts_on_their_path(variant, tmp_path):
    config = config_of(variant, freeze_batch_norm=True)
    other, weights = settled_run(config, tmp_path)
    _, terms = one_step(config, tmp_path, weights)
    (batch,) = batches_of(other)
    top_k = other.stepper._seeded_top_k(0)
    taught = (top_k[:, 0] == 1).nonzero().flatten()
    assert 0 < len(taught) < IMAGES
    model = other.model.train()
    freeze_statistics(model)
    with torch.no_grad():
        controls = model.default_controls()._replace(top_k=top_k, softness=0.5)
        student = model(batch.images, controls)
    path = None if student.path is None else student.path.gate[taught]
    teacher = teacher_answer(model, batch.images[taught], path, None)
    student = student._replace(
        box_logits=student.box_logits[taught], class_logits=student.class_logits[taught]
    )
    want = detector_distillation(student, teacher, config.loss) / terms.weight
    assert want > 0
    assert terms.parts["distill"].item() == pytest.approx(want.item(), rel=1e-4)


@pytest.mark.parametrize("variant", DETECTORS)
@pytest.mark.parametrize("parts", [2, 4])
def test_parts_give_the_term_and_the_gradients_of_the_whole(variant, parts, tmp_path):
    silent = LossConfig(distill=SHARED, balance=0.0)  # losses of routers are no sums over images
    config = config_of(variant, freeze_batch_norm=True, loss=silent)
    config = replace(config, optimizer=replace(config.optimizer, clip_norm=1e9))
    _, weights = settled_run(config, tmp_path)
    whole, want = one_step(config, tmp_path, weights)
    parted, got = one_step(replace(config, accumulate=parts), tmp_path, weights)
    assert want.weight > 2 * parts, "no part is so poor in targets that it counts as 1"
    assert want.parts["distill"] > 0
    for name in want.parts:
        assert got.parts[name].item() == pytest.approx(want.parts[name].item(), rel=1e-4), name
    assert got.total.item() == pytest.approx(want.total.item(), rel=1e-5)
    assert (gradients(parted) - gradients(whole)).norm() < 1e-5 * gradients(whole).norm()


def test_without_it_a_step_is_the_plain_one_to_the_bit(tmp_path):
    config = config_of("sparsight-n", 0.0)
    taken, terms = one_step(config, tmp_path)
    assert "distill" not in terms.parts
    plain = trainer_of(config, tmp_path)
    (batch,) = batches_of(plain)
    torch.manual_seed(STEPS_APART * config.seed)
    top_k = torch.tensor(config.top_ks)[torch.randint(len(config.top_ks), (IMAGES, 1))]
    model = plain.model.train()
    predictions = model(batch.images, model.default_controls()._replace(top_k=top_k))
    plain.task.loss(model, predictions, batch, config.loss, plain.processes.total).total.backward()
    torch.nn.utils.clip_grad_norm_(model.parameters(), config.optimizer.clip_norm)
    plain.optimizer.step()
    pairs = zip(model.state_dict().items(), taken.model.state_dict().values(), strict=True)
    assert not [name for (name, one), other in pairs if not torch.equal(one, other)]


def test_a_batch_without_such_an_image_has_a_term_of_0(tmp_path):
    config = config_of("sparsight-n", loss=LossConfig(distill=1.0))
    config = replace(config, batch_size=1)
    trainer = trainer_of(config, tmp_path)
    part = batches_of(trainer)[:1]
    drawn = [trainer.stepper._seeded_top_k(step).item() for step in range(20)]
    terms = {top_k: trainer.stepper.take(part, drawn.index(top_k)) for top_k in (4, 2, 1)}
    assert [terms[top_k].parts["distill"].item() for top_k in (4, 2)] == [0, 0]
    assert terms[1].parts["distill"] > 0


@pytest.mark.parametrize("variant", ["sparsight-n", "sparsight-path-n-cls"])
def test_half_precision_gives_gradients_to_every_weight_of_the_student(variant, tmp_path):
    config = config_of(variant, precision="bf16")
    plain, _ = one_step(replace(config, loss=replace(config.loss, distill=0.0)), tmp_path)
    taught, terms = one_step(config, tmp_path)
    assert torch.isfinite(terms.total)
    with_gradient = [
        {name for name, each in trainer.model.named_parameters() if each.grad is not None}
        for trainer in (plain, taught)
    ]
    assert with_gradient[0] == with_gradient[1]


def test_a_stopped_run_goes_on_to_the_same_weights(tmp_path):
    config = config_of("sparsight-path-n", epochs=2)
    config = replace(config, batch_size=2)  # 8 steps
    assert trainer_of(config, tmp_path / "whole").run().finished
    trainer = trainer_of(config, tmp_path / "stopped")
    take_step = trainer._step

    def step_and_interrupt(*given):
        if trainer.position.step == 4:
            signal.raise_signal(signal.SIGINT)
        return take_step(*given)

    trainer._step = step_and_interrupt
    assert not trainer.run().finished
    resumed = trainer_of(config, tmp_path / "stopped")
    resumed.resume()
    assert resumed.position.step == 5
    assert resumed.run().finished
    for name in (MODEL_FILE, STATE_FILE):
        got, want = (load_file(tmp_path / run / name) for run in ("stopped", "whole"))
        assert all(torch.equal(got[key], want[key]) for key in want)


@pytest.mark.parametrize("top_ks", [(), (1, 2), (2, 4), (4,), (1,)])
def test_it_needs_images_with_one_and_with_all_experts(top_ks):
    config = config_of("sparsight-n", 0.0, top_ks=top_ks)
    with pytest.raises(ConfigError, match=r"distill=0.5 lets images with top_k 1 learn from all 4 experts"):
        replace(config, loss=LossConfig(distill=0.5))


@pytest.mark.parametrize("top_ks", [(1, 4), (4, 1), (0, 2, 4)])
def test_any_draw_of_both_will_do(top_ks):
    assert config_of("sparsight-n", 1.0, top_ks=top_ks).loss.distill == 1.0
