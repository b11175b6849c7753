"""Checkpoints: loading, refusals, and that a kill during saving keeps the old file."""

import json
import resource
import signal
import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from safetensors import safe_open
from safetensors.torch import save_file

from tests.training_builders import shallow
from training.config import TrainConfig
from training.config_json import to_json
from training.data_config import ScenesConfig
from training.errors import CheckpointError
from training.models.detector import Detector
from training.models.variants import model_config
from training.trainer.checkpoint import (
    Best,
    Position,
    load_matching_weights,
    load_model,
    load_state,
    read_state_config,
    save_model,
    save_state,
    write_tensors,
)
from training.trainer.optimizer import build_optimizer

ROOT = Path(__file__).resolve().parents[4]
CONFIG = shallow(model_config("yolov12-n", ("a", "b"), (64, 64)))


def detector(seed=0, config=CONFIG):
    torch.manual_seed(seed)
    return Detector(config)


@pytest.fixture(scope="module")
def model():
    return detector()


@pytest.fixture
def saved(model, tmp_path):
    path = tmp_path / "model.safetensors"
    save_model(path, model, {"recipe": "quick", "step": "7"})
    return path


def rewrite(path, change):
    """Write the file again after change(tensors, metadata)."""
    with safe_open(path, framework="pt") as file:
        metadata = file.metadata()
        tensors = {name: file.get_tensor(name).clone() for name in file.keys()}  # noqa: SIM118  not a dict
    change(tensors, metadata)
    save_file(tensors, path, metadata)


def test_a_model_comes_back_with_its_configuration_and_provenance(model, saved):
    loaded, provenance = load_model(saved)
    assert loaded.config == CONFIG
    assert provenance == {"recipe": "quick", "step": "7"}
    assert not loaded.training
    want, got = model.state_dict(), loaded.state_dict()
    assert want.keys() == got.keys()
    assert all(torch.equal(want[name], got[name]) for name in want)


def test_a_missing_file_is_named(tmp_path):
    with pytest.raises(CheckpointError, match=r"no checkpoint at .*gone\.safetensors"):
        load_model(tmp_path / "gone.safetensors")


@pytest.mark.parametrize(
    "size",
    [
        pytest.param(0, id="empty"),
        pytest.param(4, id="in the length of the header"),
        pytest.param(1000, id="in the header"),
        pytest.param(-1, id="one byte short"),
    ],
)
def test_a_truncated_file_is_named(saved, size):
    saved.write_bytes(saved.read_bytes()[:size])
    with pytest.raises(CheckpointError, match=r"model\.safetensors is damaged"):
        load_model(saved)


def test_a_file_of_another_format_is_refused(tmp_path):
    path = tmp_path / "model.pt"
    torch.save({"weight": torch.zeros(1)}, path)
    with pytest.raises(CheckpointError, match=r"model\.pt is damaged or not a safetensors file"):
        load_model(path)


def test_a_file_of_another_kind_is_refused(saved, tmp_path):
    with pytest.raises(CheckpointError, match="is of kind 'sparsight-model-1', not 'sparsight-training-1'"):
        read_state_config(saved)
    foreign = tmp_path / "foreign.safetensors"
    save_file({"weight": torch.zeros(1)}, foreign)
    with pytest.raises(CheckpointError, match=r"foreign\.safetensors is of kind 'unknown'"):
        load_model(foreign)


def drop_a_tensor(tensors, metadata):
    del tensors["head.box_branches.0.2.bias"]


def add_a_tensor(tensors, metadata):
    tensors["head.extra"] = torch.zeros(1)


def resize_a_tensor(tensors, metadata):
    tensors["head.box_branches.0.2.bias"] = torch.zeros(3)


@pytest.mark.parametrize(
    ("change", "named"),
    [
        (drop_a_tensor, r"head\.box_branches\.0\.2\.bias"),
        (add_a_tensor, r"head\.extra"),
        (resize_a_tensor, r"head\.box_branches\.0\.2\.bias"),
    ],
)
def test_tensors_that_do_not_fit_are_named(saved, change, named):
    rewrite(saved, change)
    with pytest.raises(CheckpointError, match=rf"(?s)model\.safetensors does not fit.*{named}"):
        load_model(saved)


def test_a_configuration_of_another_version_is_refused_with_the_file_named(saved):
    def change(tensors, metadata):
        metadata["model"] = json.dumps({**json.loads(metadata["model"]), "colour": "red"})

    rewrite(saved, change)
    with pytest.raises(CheckpointError, match=r"model\.safetensors: .*colour"):
        load_model(saved)


def test_weights_of_other_classes_are_taken_where_they_fit(saved):
    other = detector(seed=1, config=replace(CONFIG, class_names=("x", "y", "z")))
    kept = {name: tensor.clone() for name, tensor in other.state_dict().items()}
    left_out = load_matching_weights(saved, other)
    assert left_out == [
        f"head.class_branches.{level}.4.{part}" for level in range(3) for part in ("bias", "weight")
    ]
    donor, state = load_model(saved)[0].state_dict(), other.state_dict()
    assert all(torch.equal(state[name], (kept if name in left_out else donor)[name]) for name in state)


def test_weights_of_another_architecture_are_refused(saved):
    def change(tensors, metadata):
        for name in list(tensors):
            tensors[f"trunk.{name}"] = tensors.pop(name)

    rewrite(saved, change)
    with pytest.raises(CheckpointError, match=r"model\.safetensors: no tensor fits yolov12-n"):
        load_matching_weights(saved, detector())


@pytest.mark.parametrize("name", ["sgd", "adamw"])
def test_the_state_of_a_run_comes_back_whole(tmp_path, name):
    config = TrainConfig(model=CONFIG, train_data=ScenesConfig())
    config = replace(config, optimizer=replace(config.optimizer, name=name))
    scaler = torch.amp.GradScaler("cpu", enabled=False)
    models = (detector(0), detector(1))
    optimizer = build_optimizer(models[0], config.optimizer)
    for parameter in models[0].parameters():
        parameter.grad = torch.randn_like(parameter)
    optimizer.step()
    path = tmp_path / "last.safetensors"
    progress = (Position(epoch=2, batch=3, step=11), Best(score=0.25, epoch=2, stale=1))
    provenance = {"recipe": "quick", "source license": "AGPL-3.0"}
    save_state(path, config, progress, models, optimizer, scaler, provenance=provenance)

    others = (detector(2), detector(3))
    fresh = build_optimizer(others[0], config.optimizer)
    assert load_state(path, others, fresh, scaler) == (*progress, provenance)
    assert to_json(read_state_config(path)) == to_json(config)
    for want, got in zip(models, others, strict=True):
        assert all(torch.equal(tensor, got.state_dict()[key]) for key, tensor in want.state_dict().items())
    want_state, got_state = optimizer.state_dict()["state"], fresh.state_dict()["state"]
    assert want_state.keys() == got_state.keys()
    for index, entry in want_state.items():
        assert all(torch.equal(value, got_state[index][key]) for key, value in entry.items())


def test_nothing_but_the_file_itself_is_left_after_writing(saved):
    assert [path.name for path in saved.parent.iterdir()] == ["model.safetensors"]


def test_a_write_that_fails_leaves_the_old_file(saved):
    before = saved.read_bytes()
    shared = torch.zeros(4)
    with pytest.raises(RuntimeError, match="share memory"):
        write_tensors(saved, {"a": shared, "b": shared}, {})
    assert saved.read_bytes() == before


def test_a_write_that_the_system_refuses_is_a_sentence_and_keeps_the_old_file(tmp_path):
    path = tmp_path / "model.safetensors"
    write_tensors(path, {"t0": torch.zeros(1)}, {"number": "0"})
    old, limits = path.read_bytes(), resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (4096, limits[1]))  # fails as a full disk does
    try:
        with pytest.raises(CheckpointError, match=r"model\.safetensors cannot be written .* Make room"):
            write_tensors(path, {"t0": torch.zeros(10_000)}, {"number": "1"})
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
    assert path.read_bytes() == old
    assert list(tmp_path.iterdir()) == [path]


WRITE_IN_A_LOOP = """
import sys
from pathlib import Path
import torch
from training.trainer.checkpoint import write_tensors
print("ready", flush=True)
number = 0
while True:
    number += 1
    tensors = {f"t{i}": torch.full((100_000,), float(number)) for i in range(10)}
    write_tensors(Path(sys.argv[1]), tensors, {"kind": "sparsight-model-1", "number": str(number)})
"""


def test_a_kill_while_writing_leaves_a_whole_file(tmp_path):
    path = tmp_path / "model.safetensors"
    write_tensors(path, {"t0": torch.zeros(1)}, {"number": "0"})
    child = subprocess.Popen(
        [sys.executable, "-c", WRITE_IN_A_LOOP, str(path)], cwd=ROOT, stdout=subprocess.PIPE
    )
    try:
        assert child.stdout.readline() == b"ready\n"
        deadline = time.monotonic() + 60
        seen = path.stat().st_mtime_ns
        for _ in range(3):  # three files come and go, then the kill falls anywhere in the writing of the next
            while path.stat().st_mtime_ns == seen and time.monotonic() < deadline:
                time.sleep(0.0005)
            seen = path.stat().st_mtime_ns
    finally:
        child.send_signal(signal.SIGKILL)
        child.wait()
        child.stdout.close()
    assert child.returncode == -signal.SIGKILL
    with safe_open(path, framework="pt") as file:
        number = float(file.metadata()["number"])
        tensors = [file.get_tensor(name) for name in file.keys()]  # noqa: SIM118  not a dict
    assert number >= 3
    assert len(tensors) == 10
    assert all((tensor == number).all() for tensor in tensors)
