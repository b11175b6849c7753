"""A checkpoint is named by its file, its run's folder or the word starter; weights that fit are taken."""

from pathlib import Path

import pytest
import torch

from tests.training_builders import shallow
from tests.unit.training.messages import collecting
from training.data.scenes.scenes import CLASS_NAMES
from training.errors import CheckpointError
from training.models.classifier import Classifier
from training.models.detector import Detector
from training.models.variants import model_config
from training.trainer.checkpoint import (
    BEST_FILE,
    MODEL_FILE,
    STARTER,
    STATE_FILE,
    find_checkpoint,
    load_matching_weights,
    load_model,
    load_provenance,
    save_model,
    write_tensors,
)


def network(variant="esmoe-n", names=CLASS_NAMES, seed=0):
    torch.manual_seed(seed)
    config = shallow(model_config(variant, names, (64, 64)))
    return (Classifier if config.task == "classify" else Detector)(config)


def test_of_a_run_s_folder_the_best_checkpoint_is_taken_and_the_log_says_so(tmp_path):
    for name in (BEST_FILE, MODEL_FILE):
        (tmp_path / name).touch()
    with collecting() as said:
        assert find_checkpoint(tmp_path) == tmp_path / BEST_FILE
        assert find_checkpoint(tmp_path, last=True) == tmp_path / MODEL_FILE
    assert said == [
        f"checkpoint of {tmp_path}: best.safetensors, the best by validation",
        f"checkpoint of {tmp_path}: model.safetensors, the last",
    ]


def test_of_a_run_without_validation_the_last_checkpoint_is_taken(tmp_path):
    (tmp_path / MODEL_FILE).touch()
    assert find_checkpoint(tmp_path) == tmp_path / MODEL_FILE


@pytest.mark.parametrize("file", ["config.json", STATE_FILE])
def test_of_a_run_that_was_killed_early_the_message_says_how_to_go_on(tmp_path, file):
    (tmp_path / file).touch()
    with pytest.raises(CheckpointError, match=r"has no model\.safetensors: .* train command resumes it"):
        find_checkpoint(tmp_path)


def test_a_file_is_itself_and_starter_is_the_committed_one(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert find_checkpoint(tmp_path / "mine.safetensors") == tmp_path / "mine.safetensors"
    assert find_checkpoint(Path("starter")) == STARTER
    assert load_provenance(STARTER)["recipe"] == "starter"
    (tmp_path / "starter").mkdir()  # a run's folder of this name
    (tmp_path / "starter" / MODEL_FILE).touch()
    assert find_checkpoint(Path("starter")).name == MODEL_FILE


@pytest.mark.parametrize(
    ("last", "said"),
    [(False, "has no model.safetensors: give the folder of a run"), (True, "has no model.safetensors")],
)
def test_a_folder_without_a_checkpoint_is_refused(tmp_path, last, said):
    (tmp_path / "notes.txt").touch()
    with pytest.raises(CheckpointError, match=said):
        find_checkpoint(tmp_path, last=last)


def test_the_last_of_a_file_is_refused(tmp_path):
    with pytest.raises(CheckpointError, match=r"--last chooses among the checkpoints of a run: .* no folder"):
        find_checkpoint(tmp_path / MODEL_FILE, last=True)


def test_the_state_of_a_run_is_no_checkpoint_and_the_file_beside_it_is_named(tmp_path):
    write_tensors(tmp_path / STATE_FILE, {"a": torch.zeros(1)}, {"kind": "sparsight-training-1"})
    with pytest.raises(CheckpointError, match=r"last\.safetensors is the state .* give model\.safetensors"):
        load_model(tmp_path / STATE_FILE)


@pytest.mark.parametrize(
    ("variant", "layers", "other"),
    [
        pytest.param("esmoe-n", "head.class_branches.", ("a", "b", "c", "d", "e"), id="as many"),
        pytest.param("esmoe-n", "head.class_branches.", ("a", "b"), id="fewer"),
        pytest.param("moehead-n", ".classes.", ("a", "b", "c", "d", "e"), id="a mixture head"),
        pytest.param("esmoe-n-cls", "head.score.", ("a", "b", "c", "d", "e"), id="a classifier"),
    ],
)
def test_with_other_classes_the_layers_that_score_classes_start_anew(tmp_path, variant, layers, other):
    assert len(CLASS_NAMES) == 5
    donor = network(variant, seed=1)
    save_model(tmp_path / "donor.safetensors", donor, {})
    model = network(variant, other)
    with collecting() as said:
        untouched = load_matching_weights(tmp_path / "donor.safetensors", model)
    assert untouched
    assert all(layers in name for name in untouched)
    assert "it has other classes, so the layers that score classes start anew" in said[0]
    own, theirs = model.state_dict(), donor.state_dict()
    assert all(torch.equal(own[name], theirs[name]) for name in own.keys() - set(untouched))


def test_with_the_same_classes_every_tensor_is_taken(tmp_path):
    save_model(tmp_path / "donor.safetensors", network(seed=1), {})
    with collecting() as said:
        assert load_matching_weights(tmp_path / "donor.safetensors", network()) == []
    total = len(network().state_dict())
    assert said == [f"{total} of {total} tensors start from {tmp_path / 'donor.safetensors'}"]


def test_the_weights_of_another_variant_are_told_as_such(tmp_path):
    save_model(tmp_path / "donor.safetensors", network("yolov12-n"), {})
    with collecting() as said:
        load_matching_weights(tmp_path / "donor.safetensors", network())
    assert "it is a yolov12-n, not a esmoe-n: --like takes its architecture too" in said[0]


def test_a_run_for_as_many_other_classes_starts_from_the_starter():
    names = tuple(map(str, range(16)))
    model = Detector(model_config("sparsight-n", names, (64, 64)))
    untouched = load_matching_weights(STARTER, model)
    assert untouched == [
        f"head.class_branches.{level}.4.{part}" for level in range(3) for part in ("bias", "weight")
    ]
