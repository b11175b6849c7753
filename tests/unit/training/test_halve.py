"""`python -m training halve` halves the file, and the halved checkpoint always loads to the same weights."""

import json

import pytest
import torch
from safetensors import safe_open

from tests.training_builders import plain_model
from training.__main__ import main
from training.errors import CheckpointError
from training.trainer.checkpoint import load_model, save_model
from training.workflows.halve import halve

LARGEST = 65504.0  # of float16


@pytest.fixture
def checkpoint(tmp_path):
    path = tmp_path / "model.safetensors"
    save_model(path, plain_model(), {"data": "mine"})
    return path


def test_half_the_size_and_read_as_float32(checkpoint, tmp_path, capsys):
    output = tmp_path / "half.safetensors"
    assert main(["halve", str(checkpoint), "--output", str(output)]) == 0
    assert "MB, before" in capsys.readouterr().out
    assert output.stat().st_size < 0.6 * checkpoint.stat().st_size
    (whole, _), (half, provenance) = load_model(checkpoint), load_model(output)
    assert provenance["data"] == "mine"
    assert provenance["halved from"] == "model.safetensors"
    assert half.config == whole.config
    for name, tensor in whole.state_dict().items():
        expected = tensor.half().to(tensor.dtype) if tensor.ndim > 1 else tensor
        assert torch.equal(half.state_dict()[name], expected), name


def test_halved_twice_is_halved_once(checkpoint, tmp_path):
    once, twice = tmp_path / "once.safetensors", tmp_path / "twice.safetensors"
    halve(checkpoint, once)
    halve(once, twice)
    with safe_open(once, "pt") as first, safe_open(twice, "pt") as second:
        for name in first.keys():  # noqa: SIM118  not a dict
            assert torch.equal(first.get_tensor(name), second.get_tensor(name)), name
        assert json.loads(second.metadata()["provenance"])["halved from"] == "once.safetensors"


def test_a_weight_that_float16_cannot_hold_is_said(tmp_path):
    model = plain_model()
    name, weight = next((n, p) for n, p in model.named_parameters() if p.ndim > 1)
    path, output = tmp_path / "model.safetensors", tmp_path / "half.safetensors"
    for value, fits in ((LARGEST, True), (LARGEST + 16, False)):  # 65520 is the first to round to infinity
        with torch.no_grad():
            weight.view(-1)[0] = value
        save_model(path, model, {})
        if fits:
            halve(path, output)
            output.unlink()
        else:
            with pytest.raises(CheckpointError, match=f"{name} has weights beyond 65504"):
                halve(path, output)
            assert not output.exists()


def test_it_replaces_nothing(checkpoint):
    with pytest.raises(CheckpointError, match="exists already"):
        halve(checkpoint, checkpoint)
