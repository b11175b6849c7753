"""Reasons that end a run early, and the files that the run leaves."""

import os
import signal
import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path

import pytest
import torch

from tests.training_builders import shallow
from training.config import OptimizerConfig, TrainConfig
from training.data.open import open_dataset
from training.data.scenes.scenes import CLASS_NAMES
from training.data_config import ScenesConfig
from training.errors import CheckpointError, DatasetError, TrainingError
from training.losses.terms import LossTerms
from training.models.variants import MixtureChoice, model_config
from training.trainer.checkpoint import (
    MODEL_FILE,
    STATE_FILE,
    load_matching_weights,
    load_model,
    read_state_config,
)
from training.trainer.loop import Trainer

ROOT = Path(__file__).resolve().parents[4]
CONFIG = TrainConfig(
    model=shallow(model_config("yolov12-n", CLASS_NAMES, (64, 64))),
    train_data=ScenesConfig(images=4, image_hw=(64, 64)),
    epochs=2,
    batch_size=2,
    loader_workers=0,
    precision="f32",
)


def trainer_in(run_dir, config=CONFIG):
    return Trainer(config, open_dataset(config.train_data), run_dir)


def test_a_loss_that_is_not_finite_stops_the_run_and_says_what_to_try(tmp_path):
    trainer = trainer_in(tmp_path)
    nan, one = torch.tensor(float("nan")), torch.tensor(1.0)
    trainer._step = lambda *_: LossTerms(nan, {"box": one}, one)
    with pytest.raises(TrainingError, match="the loss of step 1 is nan; try a lower learning rate"):
        trainer.run()


@pytest.mark.parametrize("error", [DatasetError("one.jpg: torn"), OSError("disk gone"), MemoryError("none")])
def test_a_validation_that_fails_loses_nothing_and_is_repeated_by_the_same_command(tmp_path, error):
    def fail(model):
        raise error

    config = replace(CONFIG, evaluate_every_epochs=1)
    with pytest.raises(TrainingError, match=f"the validation after epoch 1 failed: {error}. Nothing is lost"):
        trainer_in(tmp_path, config).run(fail)
    weights = load_model(tmp_path / MODEL_FILE)[0].state_dict()
    resumed, seen = trainer_in(tmp_path, config), []
    resumed.resume()
    assert resumed.position.step == 2, "both steps of the first epoch"

    def measure(model):
        seen.append({name: tensor.clone() for name, tensor in model.state_dict().items()})
        return {"mAP50-95": 0.5}

    assert resumed.run(measure).finished
    assert len(seen) == config.epochs
    assert all(torch.equal(seen[0][name], tensor) for name, tensor in weights.items())


@pytest.mark.parametrize(
    "choice",
    [MixtureChoice(placement="neck"), MixtureChoice(num_experts=3), MixtureChoice(top_k=1)],
    ids=["placement", "experts", "top-k"],
)
def test_a_run_is_not_taken_up_with_other_mixtures(tmp_path, choice):
    usual, other = (
        replace(CONFIG, epochs=1, model=model_config("esmoe-n", CLASS_NAMES, (64, 64), each))
        for each in (None, choice)
    )
    stopped = trainer_in(tmp_path, usual)
    stopped._save()
    with pytest.raises(CheckpointError, match="has a run with other settings"):
        trainer_in(tmp_path, other).resume()
    trainer_in(tmp_path, usual).resume()


def test_warm_up_takes_at_most_a_third_of_a_short_run(tmp_path):
    config = replace(CONFIG, optimizer=OptimizerConfig(warmup_epochs=100.0), epochs=3)  # 6 steps
    trainer = trainer_in(tmp_path, config)
    rates = []
    take_step = trainer._step
    trainer._step = lambda *given: (rates.append(trainer.optimizer.param_groups[0]["lr"]), take_step(*given))[
        1
    ]
    trainer.run()
    lr = config.optimizer.lr
    assert rates[:3] == pytest.approx([lr / 2, lr, lr])
    assert rates[-1] == pytest.approx(config.optimizer.final_lr)


def test_starting_from_another_model_names_what_did_not_fit(tmp_path):
    trainer_in(tmp_path / "first").run()
    mixture = replace(CONFIG, model=model_config("esmoe-n", CLASS_NAMES, (64, 64)))
    donor = tmp_path / "first" / MODEL_FILE
    trainer = Trainer(mixture, open_dataset(CONFIG.train_data), tmp_path / "second", initial_weights=donor)
    first, _ = load_model(donor)
    assert torch.equal(trainer.model.backbone.stem.conv.weight, first.backbone.stem.conv.weight)
    untouched = load_matching_weights(donor, trainer.model)
    assert "backbone.mixtures.p2.router.score.weight" in untouched
    assert "backbone.stem.conv.weight" not in untouched


@pytest.mark.heavy
def test_sigterm_to_the_whole_process_group_leaves_a_checkpoint_that_resumes(tmp_path):
    run_dir = tmp_path / "run"
    command = [sys.executable, "-m", "training", "train", "--run", str(run_dir), "--quiet"]
    command += ["--input", "64", "--epochs", "50"]
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    process = subprocess.Popen(
        command, cwd=ROOT, env=environment, stdout=subprocess.PIPE, text=True, start_new_session=True
    )
    deadline = time.monotonic() + 60
    while not (run_dir / "config.json").exists() and time.monotonic() < deadline:
        time.sleep(0.05)
    time.sleep(2)  # some steps, and the loader's worker is up
    os.killpg(process.pid, signal.SIGTERM)
    output, _ = process.communicate(timeout=60)
    assert process.returncode == 130, output
    assert "the same command resumes" in output
    assert read_state_config(run_dir / STATE_FILE).epochs == 50
    assert load_model(run_dir / MODEL_FILE)[0].config.input_hw == (64, 64)
