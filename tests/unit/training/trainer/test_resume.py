"""A run that was stopped or killed and then resumed ends with the same model as an uninterrupted run."""

import json
import signal
import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file

from tests.training_builders import shallow
from training.config import AugmentConfig, OptimizerConfig, TrainConfig
from training.config_json import to_json, train_from_json
from training.data.open import open_dataset
from training.data.scenes.scenes import CLASS_NAMES
from training.data_config import ScenesConfig
from training.models.variants import model_config
from training.trainer.checkpoint import MODEL_FILE, STATE_FILE, load_model, read_state_config
from training.trainer.loop import Trainer
from training.trainer.report import METRICS_FILE

ROOT = Path(__file__).resolve().parents[4]
BATCHES, EPOCHS = 4, 3  # 8 images by 2: steps 1..12

CONFIG = TrainConfig(
    model=shallow(model_config("esmoe-n", CLASS_NAMES, (64, 64))),
    train_data=ScenesConfig(images=8, image_hw=(64, 64)),
    augment=AugmentConfig(close_mosaic_epochs=1),
    optimizer=OptimizerConfig(name="adamw", lr=1e-3, warmup_epochs=1.0, ema_decay=0.9, ema_tau_steps=5),
    epochs=EPOCHS,
    batch_size=2,
    evaluate_every_epochs=2,
    loader_workers=0,
    precision="f32",
)


def trainer_in(run_dir, config=CONFIG):
    return Trainer(config, open_dataset(config.train_data), run_dir)


def evaluate(model):
    assert not model.training
    return {"score": 0.5}


def interrupt_at(trainer, step):
    """Send a real Ctrl-C while the trainer is inside the step of this number, counted from 1."""
    take_step = trainer._step

    def step_and_interrupt(*given):
        if trainer.position.step + 1 == step:
            signal.raise_signal(signal.SIGINT)
        return take_step(*given)

    trainer._step = step_and_interrupt


def recorded(run_dir, kind):
    lines = (run_dir / METRICS_FILE).read_text(encoding="utf-8").splitlines()
    return [record["step"] for record in map(json.loads, lines) if record["kind"] == kind]


def assert_same_run(got, want):
    for name in (MODEL_FILE, STATE_FILE):
        got_tensors, want_tensors = load_file(got / name), load_file(want / name)
        assert got_tensors.keys() == want_tensors.keys()
        different = [key for key, tensor in want_tensors.items() if not torch.equal(got_tensors[key], tensor)]
        assert different == []
    assert recorded(got, "train") == [4, 8, 12]
    assert recorded(got, "evaluate") == [8, 12]


@pytest.fixture(scope="module")
def uninterrupted(tmp_path_factory):
    run_dir = tmp_path_factory.mktemp("whole")
    outcome = trainer_in(run_dir).run(evaluate)
    assert outcome.finished
    assert vars(outcome.position) == {"epoch": 3, "batch": 0, "step": 12}
    return run_dir


def test_an_uninterrupted_run_leaves_its_files_and_each_record_once(uninterrupted):
    assert {path.name for path in uninterrupted.iterdir()} == {
        "config.json", MODEL_FILE, STATE_FILE, METRICS_FILE,
    }  # fmt: skip
    assert train_from_json((uninterrupted / "config.json").read_text(encoding="utf-8")) == CONFIG
    assert read_state_config(uninterrupted / STATE_FILE) == CONFIG
    assert recorded(uninterrupted, "train") == [4, 8, 12]
    assert recorded(uninterrupted, "evaluate") == [8, 12]
    model, provenance = load_model(uninterrupted / MODEL_FILE)
    assert (model.config, provenance) == (CONFIG.model, {"step": "12", "epoch": "3"})


@pytest.mark.parametrize(
    ("step", "position"),
    [
        pytest.param(1, (0, 1), id="in the first step"),
        pytest.param(6, (1, 2), id="in the middle of an epoch"),
        pytest.param(8, (1, 4), id="in the last step of an epoch, before its evaluation"),
        pytest.param(12, (2, 4), id="in the last step of all"),
    ],
)
def test_stopped_by_ctrl_c_and_resumed_it_ends_the_same(uninterrupted, tmp_path, step, position):
    stopped = trainer_in(tmp_path)
    interrupt_at(stopped, step)
    outcome = stopped.run(evaluate)
    assert not outcome.finished
    assert (outcome.position.epoch, outcome.position.batch, outcome.position.step) == (*position, step)

    resumed = trainer_in(tmp_path)
    resumed.resume()
    assert resumed.position == outcome.position
    assert resumed.run(evaluate).finished
    assert_same_run(tmp_path, uninterrupted)


@pytest.mark.parametrize(
    "variant", [pytest.param("modular-n", id="noise"), pytest.param("moehead-n", id="dropout")]
)
def test_what_routers_draw_in_training_is_drawn_again_after_a_stop(tmp_path, variant):
    config = replace(CONFIG, model=shallow(model_config(variant, CLASS_NAMES, (64, 64))), epochs=1)
    trainer_in(tmp_path / "whole", config).run()
    stopped = trainer_in(tmp_path / "stopped", config)
    interrupt_at(stopped, 2)
    assert not stopped.run().finished
    resumed = trainer_in(tmp_path / "stopped", config)
    resumed.resume()
    assert resumed.run().finished
    got, want = (load_file(tmp_path / run / STATE_FILE) for run in ("stopped", "whole"))
    assert [name for name, tensor in want.items() if not torch.equal(got[name], tensor)] == []


def test_a_finished_run_that_is_taken_up_again_changes_nothing(uninterrupted, tmp_path):
    for name in (MODEL_FILE, STATE_FILE, METRICS_FILE):
        (tmp_path / name).write_bytes((uninterrupted / name).read_bytes())
    again = trainer_in(tmp_path)
    again.resume()
    assert again.run(evaluate).finished
    assert_same_run(tmp_path, uninterrupted)


def test_the_time_between_checkpoints_runs_on_from_epoch_to_epoch(tmp_path, monkeypatch):
    clock = iter(range(0, 10_000, 10))  # each look at the clock is ten seconds later
    monkeypatch.setattr(time, "monotonic", lambda: float(next(clock)))
    config = replace(CONFIG, epochs=6, checkpoint_every_s=150.0, batch_size=8)
    saves = []
    trainer = trainer_in(tmp_path, config)
    save = trainer._save
    trainer._save = lambda: (saves.append(trainer.position.epoch), save())
    trainer.run()
    assert len(saves) > 1, "epochs of one batch are shorter than the time between checkpoints"


TRAIN_UNTIL_KILLED = """
import sys, time
from pathlib import Path
import torch
from training.config_json import train_from_json
from training.data.open import open_dataset
from training.trainer.loop import Trainer

torch.set_num_threads(1)
config = train_from_json(sys.argv[2])
trainer = Trainer(config, open_dataset(config.train_data), Path(sys.argv[1]))
trainer.run(lambda model: time.sleep(600))  # it never gets past the evaluation after step 8
"""


# Parts of a batch, numbers of experts that are drawn, classes that are balanced: all that a step goes by.
EVERYTHING = replace(
    CONFIG,
    train_data=ScenesConfig(images=12, image_hw=(64, 64)),
    batch_size=4,
    accumulate=2,
    top_ks=(1, 2, 4),
    repeat_threshold=0.6,
    deterministic=True,
)


@pytest.mark.heavy
@pytest.mark.parametrize(
    ("config", "workers"),
    [
        pytest.param(CONFIG, 0, id="no worker"),
        pytest.param(EVERYTHING, 1, id="a worker, and all that a step can go by"),
    ],
)
def test_killed_and_resumed_it_ends_the_same(uninterrupted, tmp_path, config, workers):
    if config is not CONFIG:
        uninterrupted = tmp_path / "whole"
        trainer_in(uninterrupted, config).run(evaluate)
    tmp_path = tmp_path / "killed"
    config = replace(config, checkpoint_every_s=0.0, loader_workers=workers)  # a checkpoint before every step
    child = subprocess.Popen([sys.executable, "-c", TRAIN_UNTIL_KILLED, tmp_path, to_json(config)], cwd=ROOT)
    try:
        deadline = time.monotonic() + 120
        while not (tmp_path / MODEL_FILE).exists() and time.monotonic() < deadline and child.poll() is None:
            time.sleep(0.005)
        time.sleep(0.2)  # some steps further on, at no particular place in one
    finally:
        child.send_signal(signal.SIGKILL)
        child.wait()
    assert child.returncode == -signal.SIGKILL

    resumed = trainer_in(tmp_path, config)
    resumed.resume()
    assert resumed.position.step <= 8
    assert resumed.run(evaluate).finished
    assert_same_run(tmp_path, uninterrupted)


def test_a_run_whose_data_shrank_goes_on_with_its_next_epoch(tmp_path):
    stopped = trainer_in(tmp_path)
    interrupt_at(stopped, 7)  # after batch 3 of 4 of the second epoch
    assert not stopped.run(evaluate).finished
    fewer = open_dataset(replace(CONFIG.train_data, images=4))  # 2 batches
    resumed = Trainer(CONFIG, fewer, tmp_path)
    resumed.resume()
    assert vars(resumed.position) == {"epoch": 1, "batch": 3, "step": 7}
    outcome = resumed.run(evaluate)
    assert outcome.finished
    assert vars(outcome.position) == {"epoch": 3, "batch": 0, "step": 9}
