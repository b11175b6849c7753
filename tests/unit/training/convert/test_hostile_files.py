"""Malicious files cause no large allocation, no endless loop, and no error other than the project's own."""

import random
import zipfile
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from torch import nn

from tests.unit.training.convert.foreign_models import RELEASED, foreign_classes, foreign_model, save
from training.convert import convert
from training.convert.convert import read_foreign
from training.errors import CheckpointError
from training.models.detector import Detector

TRIES = 24


@pytest.mark.parametrize(
    ("shape", "said"),
    [
        pytest.param((1, 1, 1, 4001), "depthwise", id="wide"),
        pytest.param((1, 1, 33, 33), "depthwise", id="just too wide"),
        pytest.param((64, 1, 4, 4), "depthwise", id="even"),
        pytest.param((64, 2, 3, 3), "depthwise", id="not depthwise"),
        pytest.param((1, 1, 5, 5), r"is \[1, 1, 5, 5\]; expected \[64, 1, 5, 5\]", id="misshapen"),
    ],
)
def test_no_memory_is_taken_on_the_word_of_a_shape(shape, said, tmp_path, monkeypatch):
    with foreign_classes() as make:
        model = foreign_model(make, mixture=RELEASED)
        model.model[3].experts[1].conv.depthwise.weight = nn.Parameter(torch.zeros(shape))
        save(tmp_path / "foreign.pt", model)

    def build(config: Any) -> Detector:
        assert torch.get_default_device().type == "meta", "built before the shapes were compared"
        return Detector(config)

    monkeypatch.setattr(convert, "task_named", lambda name: SimpleNamespace(build=build))
    with pytest.raises(CheckpointError, match=said):
        read_foreign(tmp_path / "foreign.pt")


def test_what_is_finite_only_in_double_precision_is_refused(tmp_path):
    with foreign_classes() as make:
        model = foreign_model(make).half()
        model.model[0].bn.weight = nn.Parameter(torch.full((16,), 1e300, dtype=torch.float64))
        torch.save({"model": model}, tmp_path / "foreign.pt")
    with pytest.raises(CheckpointError, match=r"model\.0\.bn\.weight holds NaN or infinite"):
        read_foreign(tmp_path / "foreign.pt")


@pytest.mark.heavy
def test_a_file_changed_anywhere_in_its_pickle_is_converted_or_refused(tmp_path):
    path = tmp_path / "foreign.pt"
    with foreign_classes() as make:
        save(path, foreign_model(make, mixture=RELEASED))
    with zipfile.ZipFile(path) as file:
        entries = {name: file.read(name) for name in file.namelist()}
    pickled = next(name for name in entries if name.endswith("/data.pkl"))
    generator = random.Random(5)
    said: list[str] = []
    for _ in range(TRIES):
        data = bytearray(entries[pickled])
        for _ in range(generator.choice((1, 1, 4))):
            data[generator.randrange(len(data))] = generator.randrange(256)
        with zipfile.ZipFile(path, "w") as file:  # anew, so that each checksum is right
            for name, held in entries.items():
                file.writestr(name, bytes(data) if name == pickled else held)
        try:
            conversion = read_foreign(path)
        except CheckpointError as error:
            said.append(str(error))
        else:
            assert conversion.model.config.variant == "esmoe-n"
    assert 0 < len(said) < TRIES
    assert all(message.isprintable() for message in said)


def test_modules_in_a_ring_are_refused(tmp_path):
    with foreign_classes() as make:
        model = foreign_model(make).half()
        model.model[21].dfl.again = model.model[21]
        torch.save({"model": model}, tmp_path / "foreign.pt")
    with pytest.raises(CheckpointError, match="modules within modules without end"):
        read_foreign(tmp_path / "foreign.pt")
