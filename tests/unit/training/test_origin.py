"""Checkpoints and exports record origin and licence of the weights with which the training began."""

import hashlib
import json

import pytest
import torch

from tests.training_builders import plain_model
from tests.unit.training.convert.foreign_models import TOP_TWO, foreign_classes, foreign_model, save
from tests.unit.training.messages import collecting
from training.convert.command import convert
from training.data_config import ScenesConfig
from training.errors import CheckpointError
from training.trainer.checkpoint import MODEL_FILE, STATE_FILE, load_provenance, save_model
from training.workflows import dataset_config, train
from training.workflows.export import export
from training.workflows.provenance import checkpoint_in_words, origin_in_words, origin_of

LICENCE = "AGPL-3.0 License (https://example.org/license)"


def sha256(path):
    return hashlib.sha256(path.read_bytes()).hexdigest()


@pytest.fixture(scope="module")
def converted(tmp_path_factory):
    torch.manual_seed(0)
    folder = tmp_path_factory.mktemp("foreign")
    with foreign_classes() as make:
        save(folder / "Best.pt", foreign_model(make, mixture=TOP_TWO), license=LICENCE)
    return convert(folder / "Best.pt", folder / "mine.safetensors")


def trained(run_dir, **given):
    overrides = {"model.input_hw": (64, 64), "epochs": 1, "batch_size": 4}
    options = train.TrainOptions(run_dir=run_dir, variant="esmoe-n", scenes=4, overrides=overrides, **given)
    with collecting() as said:
        train.train(options)
    return load_provenance(run_dir / MODEL_FILE), said


def test_a_licence_goes_from_training_to_training_and_into_the_manifest(converted, tmp_path, monkeypatch):
    monkeypatch.setattr(dataset_config, "SCENES_UNSEEN", ScenesConfig(images=1, seed=1, image_hw=(64, 64)))
    first, said = trained(tmp_path / "first", weights=converted)
    assert first == {
        "source": "Best.pt",
        "source sha256": sha256(converted.with_name("Best.pt")),
        "source kind": "YOLO-Master EsMoE",
        "source version": "8.3.240",
        "source date": "2026-01-02T03:04:05",
        "source license": LICENCE,
        "note": first["note"],
        "begun from": "mine.safetensors",
        "begun from sha256": sha256(converted),
        "recipe": "quick",
        "data": "generated scenes",
        "step": "1",
        "epoch": "1",
    }
    words = f"weights of Best.pt (YOLO-Master EsMoE), licence: {LICENCE}; begun from mine.safetensors"
    assert words in said
    assert (tmp_path / "first" / STATE_FILE).exists()
    assert trained(tmp_path / "first")[0] == first, "a run that goes on needs not be told again"

    second, _ = trained(tmp_path / "second", like=tmp_path / "first" / MODEL_FILE)
    assert second["source license"] == LICENCE
    assert second["begun from"] == "model.safetensors, begun from mine.safetensors"
    assert second["begun from sha256"] == sha256(tmp_path / "first" / MODEL_FILE)
    assert second["begun from data"] == "generated scenes"


@pytest.mark.heavy
def test_the_manifest_of_an_export_says_whose_weights_they_are(tmp_path):
    told = {"data": "/somebody/s/bccd", "source": "Best.pt", "source license": LICENCE}
    save_model(tmp_path / "model.safetensors", plain_model(), told)
    (made,) = export(
        tmp_path / "model.safetensors",
        tmp_path,
        "tiny",
        data=None,
        targets=["onnx"],
        attribution="BCCD, MIT",
    )
    provenance = json.loads((made.path / "manifest.json").read_text())["provenance"]
    assert provenance["attribution"] == f"BCCD, MIT; weights of Best.pt, licence: {LICENCE}"
    assert provenance["data"] == "bccd"


def test_a_model_that_began_here_says_nothing_of_others(tmp_path):
    assert origin_in_words({"recipe": "quick", "data": "bccd", "step": "3"}) == ""
    assert origin_in_words({"source": "a.pt"}) == "weights of a.pt, licence: the file states none"
    save_model(
        tmp_path / "a.safetensors", plain_model(), {"recipe": "quick", "data": "/my/bccd", "mAP50-95": "1"}
    )
    origin = origin_of(tmp_path / "a.safetensors")
    assert list(origin) == ["begun from", "begun from sha256", "begun from data"]
    assert checkpoint_in_words({"epoch": "8"}) == "epoch 8"
    best = {"epoch": "3", "mAP50-95": "0.312345"}
    assert checkpoint_in_words(best) == "epoch 3, the best by validation: mAP50-95 0.312"
    assert checkpoint_in_words({"source": "a.pt"}) == ""
    assert origin_in_words(origin) == "begun from a.safetensors, trained on bccd"
    with pytest.raises(CheckpointError, match="no checkpoint at"):
        origin_of(tmp_path / "gone.safetensors")
