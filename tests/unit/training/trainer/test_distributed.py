"""Training with several real processes (gloo on the CPU, torchrun) equals training with one."""

import json
import os
import signal
import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file
from torch import nn

from tests.training_builders import settled, shallow
from training.config import LossConfig, OptimizerConfig, TrainConfig
from training.config_json import to_json
from training.data.loading.loader import TrainingLoader
from training.data.open import open_dataset
from training.data.scenes.scenes import CLASS_NAMES
from training.data_config import ScenesConfig
from training.errors import ConfigError
from training.models.detector import Detector
from training.models.variants import MixtureChoice, model_config
from training.tasks.detect import DETECT
from training.trainer.checkpoint import (
    CONFIG_FILE,
    MODEL_FILE,
    STATE_FILE,
    load_model,
    read_state_config,
    save_model,
)
from training.trainer.distributed import ALONE, Processes, joined, synchronise_batch_norm
from training.trainer.loop import Trainer
from training.trainer.report import METRICS_FILE
from training.trainer.step import freeze_statistics

ROOT = Path(__file__).resolve().parents[4]
STEPS = 3
EVERY_TERM = LossConfig(load=0.1, z=0.1, diversity=0.1, information=0.5, coverage=0.1)

# A step of 8 images in 2 parts, of which each of 2 processes has 2 images.
CONFIG = TrainConfig(
    model=shallow(model_config("esmoe-n", CLASS_NAMES, (64, 64), MixtureChoice(num_experts=3))),
    train_data=ScenesConfig(images=8, image_hw=(64, 64)),
    loss=EVERY_TERM,
    optimizer=OptimizerConfig(
        name="sgd", lr=1e-4, clip_norm=1e9, warmup_epochs=0, ema_decay=0.5, ema_tau_steps=1
    ),
    epochs=STEPS,  # of one step each, so that each has a line in the metrics
    batch_size=8,
    accumulate=2,
    freeze_batch_norm=True,
    top_ks=(2, 3),
    loader_workers=0,
    precision="f32",
)
# Images with one expert learn from all experts. Their gradients are long: unclipped, a step would overflow.
DISTILLED = replace(
    CONFIG,
    top_ks=(1, 3),
    loss=replace(EVERY_TERM, distill=1.0),
    optimizer=replace(CONFIG.optimizer, lr=1e-3, clip_norm=10.0),
)

TRAIN = """
import os, sys
from pathlib import Path
import torch
from training.config_json import train_from_json
from training.data.loading.loader import TrainingLoader
from training.data.open import open_dataset
from training.errors import DatasetError, TrainingError
from training.trainer.distributed import joined
from training.trainer.loop import Trainer

class Torn:
    def __init__(self, dataset):
        self.dataset, self.class_names, self.remarks = dataset, dataset.class_names, dataset.remarks
        self.skeleton = dataset.skeleton

    def __len__(self):
        return len(self.dataset)

    def load(self, index, fit=None):
        raise DatasetError("an image is torn")

torch.set_num_threads(1)
config, run_dir, weights, torn_rank = train_from_json(sys.argv[1]), *sys.argv[2:]
try:
    with joined(os.environ) as processes:
        dataset = open_dataset(config.train_data)
        if torn_rank == str(processes.rank):
            dataset = Torn(dataset)
        run = Trainer(config, dataset, Path(run_dir), initial_weights=Path(weights), processes=processes)
        run.run()
except TrainingError as error:
    sys.exit(f"training: {error}")
"""


def torchrun(*command, **options):
    environment = {**os.environ, "OMP_NUM_THREADS": "1", "PYTHONPATH": str(ROOT)}
    launch = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2"]
    streams = {"stdout": subprocess.PIPE, "stderr": subprocess.STDOUT, "text": True}
    return subprocess.Popen([*launch, *command], cwd=ROOT, env=environment, **streams, **options)


@pytest.fixture(scope="module")
def weights(tmp_path_factory):
    """Of a detector whose batch norms know their inputs, so that they can stay as they are."""
    path = tmp_path_factory.mktemp("weights") / MODEL_FILE
    with TrainingLoader(open_dataset(CONFIG.train_data), replace(CONFIG, accumulate=1), DETECT) as loader:
        images = torch.cat([batch.images for epoch in range(STEPS) for batch in loader.epoch(epoch)])
    save_model(path, settled(CONFIG.model, images), {})
    return path


def train_in_two(config, run_dir, weights, torn_rank="none"):
    script = run_dir.parent / "train.py"
    script.write_text(TRAIN, encoding="utf-8")
    process = torchrun(script, to_json(config), run_dir, weights, torn_rank)
    output, _ = process.communicate(timeout=120)
    return process.returncode, output


def recorded(run_dir):
    return [json.loads(line) for line in (run_dir / METRICS_FILE).read_text(encoding="utf-8").splitlines()]


@pytest.mark.heavy
@pytest.mark.parametrize(
    ("config", "further"),
    [pytest.param(CONFIG, (), id="labels alone"), pytest.param(DISTILLED, ("distill",), id="distilled")],
)
def test_two_processes_find_the_losses_and_take_the_steps_of_one(weights, tmp_path, config, further):
    code, output = train_in_two(config, tmp_path / "two", weights)
    assert code == 0, output
    dataset = open_dataset(config.train_data)
    assert Trainer(config, dataset, tmp_path / "one", initial_weights=weights).run().finished
    one, two = (recorded(tmp_path / name) for name in ("one", "two"))
    assert len(one) == len(two) == STEPS
    for want, got in zip(one, two, strict=True):
        for name in ("box", "classes", "dfl", "routing", *further):
            assert want[name] > 0
            assert got[name] == pytest.approx(want[name], abs=1e-4), name
        assert got["total"] == pytest.approx(want["total"], rel=1e-4)
    # Gradients of labels alone are not clipped, so that a wrong factor shows. Weights are below 4, where
    # float32 rounds to 2.4e-7, and each of 3 steps rounds once; sums in another order change perhaps
    # 1e-5 of a gradient, which moves no weight by more than 0.01: less than 1e-6 together.
    want, got = (load_file(tmp_path / name / STATE_FILE) for name in ("one", "two"))
    assert want.keys() == got.keys()
    off = {name: (got[name] - tensor).abs().max().item() for name, tensor in want.items()}
    weights_off = {name: value for name, value in off.items() if not name.startswith("optimizer.")}
    assert max(weights_off.values()) < 1e-6, max(weights_off, key=lambda name: weights_off[name])
    before = load_file(weights)
    moved = max((want[f"model.{name}"] - tensor).abs().max().item() for name, tensor in before.items())
    assert moved > 1e-3, "there was something to compare"


@pytest.mark.heavy
def test_a_process_that_fails_ends_the_other_with_a_message(weights, tmp_path):
    code, output = train_in_two(CONFIG, tmp_path / "run", weights, torn_rank="1")
    assert code != 0
    assert "training: an image is torn" in output
    assert "training: another process of this run has ended" in output


@pytest.mark.heavy
def test_a_run_of_two_that_is_told_to_stop_goes_on_in_one(tmp_path):
    run_dir = tmp_path / "run"
    flags = ["--run", run_dir, "--quiet", "--input", "64", "--epochs", "50"]
    # Without the two dashes torchrun takes --run for an abbreviation of a flag of its own.
    process = torchrun("-m", "--", "training", "train", *flags, start_new_session=True)
    deadline = time.monotonic() + 240
    while process.poll() is None and not (run_dir / CONFIG_FILE).exists() and time.monotonic() < deadline:
        time.sleep(0.05)
    time.sleep(2)  # some steps, and the loader's workers are up
    os.killpg(process.pid, signal.SIGTERM)
    output, _ = process.communicate(timeout=120)
    assert "2 processes" in output, output
    assert output.count("the same command resumes") == 1, output
    config = read_state_config(run_dir / STATE_FILE)
    assert load_model(run_dir / MODEL_FILE)[0].config == config.model
    alone = Trainer(config, open_dataset(config.train_data), run_dir)
    alone.resume()
    assert f"stopped after {alone.position.step} steps" in output


@pytest.mark.parametrize(
    ("batch_size", "accumulate", "size", "message"),
    [
        pytest.param(8, 1, 3, "accumulate=1 × 3 processes; give a multiple of 3", id="processes"),
        pytest.param(8, 4, 4, "accumulate=4 × 4 processes; give a multiple of 16", id="parts of processes"),
    ],
)
def test_a_batch_that_cannot_be_dealt_evenly_is_refused(tmp_path, batch_size, accumulate, size, message):
    config = replace(CONFIG, batch_size=batch_size, accumulate=accumulate)
    with pytest.raises(ConfigError, match=f"batch_size=8 cannot be split evenly over {message}"):
        Trainer(config, open_dataset(config.train_data), tmp_path, processes=Processes(0, size))


def test_without_torchrun_a_process_is_alone():
    with joined({}) as processes:
        assert processes == ALONE
    with joined({"WORLD_SIZE": "1", "RANK": "0"}) as processes:  # torchrun --nproc-per-node 1
        assert processes == ALONE
    values = torch.arange(3.0)
    assert torch.equal(ALONE.total(values), values)
    assert not ALONE.any(False, torch.device("cpu"))
    assert ALONE.same(7, torch.device("cpu"))


@pytest.mark.parametrize("environment", [{"WORLD_SIZE": "2"}, {"WORLD_SIZE": "many", "RANK": "0"}])
def test_an_environment_that_is_not_torchruns_is_refused(environment):
    with (
        pytest.raises(ConfigError, match="cannot find each other"),
        joined(environment),
    ):
        pass


def test_synchronised_batch_norm_keeps_the_names_of_tensors():
    model = Detector(CONFIG.model)
    names = list(model.state_dict())
    model = synchronise_batch_norm(model)
    assert list(model.state_dict()) == names
    assert not any(type(module) is nn.BatchNorm2d for module in model.modules())


def test_frozen_it_answers_as_batch_norm_and_group_norm_is_left_alone():
    plain = nn.Sequential(nn.Conv2d(3, 8, 3), nn.BatchNorm2d(8), nn.GroupNorm(2, 8))
    plain[1].running_mean.uniform_()
    plain[1].running_var.uniform_(0.5, 2)
    group = plain[2]
    x = torch.rand(2, 3, 4, 4)
    freeze_statistics(plain.train())
    want = plain(x)
    model = synchronise_batch_norm(plain).train()
    assert model[2] is group
    freeze_statistics(model)
    assert torch.equal(model(x), want)
    before = model[1].running_mean.clone()
    Processes(0, 2).average_statistics(nn.Sequential(group))  # has nothing to wait for the others with
    assert torch.equal(model[1].running_mean, before)


def test_a_run_is_on_the_device_that_is_named():
    assert Processes().on("cpu").device() == torch.device("cpu")
    with pytest.raises(ConfigError, match=r"no device cuda:99 here; there are: cpu"):
        Processes().on("cuda:99")
    with pytest.raises(ConfigError, match="each of several processes has a device of its own"):
        Processes(rank=0, size=2).on("cpu")
