"""Training of a classifier keeps the checkpoint with the highest top-1."""

import json
import signal
from dataclasses import replace

import pytest
import torch
from safetensors.torch import load_file

from tests.training_builders import shallow
from training.config import AugmentConfig, TrainConfig
from training.data.loading.loader import TrainingLoader
from training.data.open import open_dataset
from training.data.scenes.scenes import CLASS_NAMES
from training.data_config import ScenesConfig
from training.errors import CheckpointError
from training.models.classifier import Classifier
from training.models.variants import model_config
from training.recipes.recipes import Request, build_config
from training.tasks.classify import CLASSIFY
from training.trainer.checkpoint import (
    BEST_FILE,
    MODEL_FILE,
    STATE_FILE,
    load_detector,
    load_matching_weights,
    load_model,
    save_model,
)
from training.trainer.loop import Trainer
from training.trainer.report import METRICS_FILE

SCENES = ScenesConfig(images=5, image_hw=(64, 64), labels="class")
STILL = AugmentConfig(
    crop_area=1.0, crop_aspect=1.0, hsv_hue=0, hsv_saturation=0, hsv_value=0, flip_horizontal=0
)
CONFIG = TrainConfig(
    model=shallow(model_config("esmoe-n-cls", CLASS_NAMES, (64, 64))),
    train_data=SCENES,
    val_data=SCENES,
    augment=STILL,
    epochs=4,
    batch_size=4,
    evaluate_every_epochs=1,
    loader_workers=0,
    precision="f32",
)


def lines_of(run_dir, kind):
    records = map(json.loads, (run_dir / METRICS_FILE).read_text(encoding="utf-8").splitlines())
    return [record for record in records if record["kind"] == kind]


@pytest.mark.parametrize("variant", ["yolov12-n-cls", "esmoe-n-cls", "sparsight-n-cls"])
def test_every_family_learns_five_images(variant, tmp_path):
    request = Request(
        class_names=CLASS_NAMES,
        train_data=SCENES,
        variant=variant,
        # 30 epochs of one step each, so that each has a line in the metrics
        overrides={"model.input_hw": (64, 64), "epochs": 30, "batch_size": 5},
    )
    config = build_config("quick", request)
    config = replace(config, augment=STILL, loader_workers=0, precision="f32")
    assert Trainer(config, open_dataset(SCENES), tmp_path).run().finished
    lines = lines_of(tmp_path, "train")
    assert len(lines) == 30
    values = [line["classes"] for line in lines]
    # Label smoothing of 0.1 over 5 classes leaves 0.50 at the least.
    assert sum(values[-3:]) / 3 < 0.9
    assert values[0] > 1.4
    first = lines[0]
    assert first["total"] == pytest.approx(5 * (first["classes"] + first["routing"]), rel=1e-5)
    assert (first["routing"] > 0) == bool(config.model.mixtures)


def test_the_evaluation_with_the_highest_top_1_is_kept(tmp_path):
    scores = iter([0.25, 0.75, 0.5, 0.5])
    trainer = Trainer(CONFIG, open_dataset(SCENES), tmp_path)
    outcome = trainer.run(lambda model: {"top1": next(scores), "top5": 1.0})
    assert (trainer.best.score, trainer.best.epoch) == (0.75, 2)
    assert (outcome.best_by, outcome.best_path) == ("top1", tmp_path / BEST_FILE)
    model, provenance = load_model(outcome.best_path)
    assert isinstance(model, Classifier)
    assert (provenance["top1"], provenance["epoch"]) == ("0.750000", "2")


def test_a_real_evaluation_stands_in_the_metrics(tmp_path):
    dataset = open_dataset(SCENES)
    trainer = Trainer(replace(CONFIG, epochs=1), dataset, tmp_path)
    trainer.run(lambda model: CLASSIFY.scores(CLASSIFY.evaluate(model, dataset), dataset))
    (line,) = lines_of(tmp_path, "evaluate")
    assert 0 <= line["top1"] <= line["top5"] == 1
    assert {"bits backbone.p4", "nmi class backbone.p4", "top1 disc"} <= line.keys()


def test_a_stopped_run_goes_on_to_the_same_weights(tmp_path):
    config = replace(CONFIG, epochs=2, batch_size=2, top_ks=(1, 2))  # of 2 steps each
    Trainer(config, open_dataset(SCENES), tmp_path / "whole").run()
    trainer = Trainer(config, open_dataset(SCENES), tmp_path / "stopped")
    take_step = trainer._step

    def step_and_interrupt(*given):
        if trainer.position.step == 2:
            signal.raise_signal(signal.SIGINT)
        return take_step(*given)

    trainer._step = step_and_interrupt
    assert not trainer.run().finished
    resumed = Trainer(config, open_dataset(SCENES), tmp_path / "stopped")
    resumed.resume()
    assert resumed.position.step == 3
    assert resumed.run().finished
    for name in (MODEL_FILE, STATE_FILE):
        got, want = (load_file(tmp_path / run / name) for run in ("stopped", "whole"))
        assert got.keys() == want.keys()
        assert all(torch.equal(got[key], want[key]) for key in want)


def test_losses_and_gradients_of_parts_are_those_of_the_whole(tmp_path):
    found = {}
    for parts in (1, 2):
        config = replace(
            CONFIG,
            accumulate=parts,
            freeze_batch_norm=True,
            loss=replace(CONFIG.loss, balance=0.0),
            optimizer=replace(CONFIG.optimizer, clip_norm=1e9),
        )
        trainer = Trainer(config, open_dataset(SCENES), tmp_path)
        with TrainingLoader(trainer.dataset, config, CLASSIFY) as loader:
            terms = trainer._step(list(loader.epoch(0)))
        found[parts] = terms, torch.cat([p.grad.flatten() for p in trainer.model.parameters()])
    (whole, want), (parted, got) = found[1], found[2]
    assert parted.parts["classes"].item() == pytest.approx(whole.parts["classes"].item(), rel=1e-5)
    assert parted.total.item() == pytest.approx(whole.total.item(), rel=1e-5)
    assert (whole.weight.item(), parted.weight.item()) == (4, 4)
    assert (got - want).norm() < 1e-5 * want.norm()


def test_what_needs_a_detector_refuses_a_classifier(tmp_path):
    path = tmp_path / "cls.safetensors"
    save_model(path, Classifier(CONFIG.model), {})
    with pytest.raises(CheckpointError, match="is for the task classify, but a detector is needed"):
        load_detector(path)


def test_a_classifier_starts_from_a_detector_s_backbone(tmp_path):
    donor = tmp_path / "detector.safetensors"
    detect = replace(CONFIG, model=shallow(model_config("esmoe-n", CLASS_NAMES, (64, 64))))
    network = Trainer(detect, open_dataset(SCENES), tmp_path).model
    save_model(donor, network, {})
    trainer = Trainer(CONFIG, open_dataset(SCENES), tmp_path, initial_weights=donor)
    untouched = load_matching_weights(donor, trainer.model)
    assert untouched
    assert all(name.startswith("head.") for name in untouched)
