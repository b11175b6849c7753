"""The committed starter is complete, reproduces its golden sample, and has its released mAP when served."""

import json
import os
from pathlib import Path

import numpy as np
import pytest

from service.artifact.repository import find_artifacts
from tests.integration.service.conftest import serve, wait_until_ready
from training.files import sha256_of
from training.recipes.recipe_data import recipe_splits
from training.trainer.checkpoint import load_model
from training.workflows.export import scene_images
from training.workflows.measure import evaluate_service

ROOT = Path(__file__).resolve().parents[2]
REPOSITORY = ROOT / "model_repository"
ARTIFACT = REPOSITORY / "starter-openvino" / "1"
CHECKPOINT = ROOT / "training" / "starter" / "model.safetensors"
MOST_BYTES = 25e6  # of all files of the starter in a clone
IMAGES = 274  # validation images: 87 of cells, 127 of the aquarium, 60 of cards


def test_the_committed_artifact_reproduces_its_golden_sample():
    with serve(repository=REPOSITORY, default_model="starter") as running:
        assert wait_until_ready(running).status_code == 200, "not ready before the sample is reproduced"


def test_the_artifact_comes_from_the_committed_checkpoint():
    (starter,) = find_artifacts(REPOSITORY, "openvino").values()
    model, provenance = load_model(CHECKPOINT)
    assert starter.manifest.name == "starter"
    assert starter.manifest.provenance.checkpoint_sha256 == sha256_of(CHECKPOINT)
    assert starter.manifest.class_names == model.config.class_names
    assert len(model.config.class_names) == 16
    assert [row.layer for row in starter.manifest.mixture] == list(model.mixture_layers())
    for owner in ("BCCD", "Aquarium", "cards"):
        assert owner in starter.manifest.provenance.attribution
    assert "/" not in provenance["data"], "a folder of the machine that trained it"


def test_the_routers_tell_images_apart_and_use_every_expert():
    """The manifest's routing statistics, with which the service compares its own images."""
    stored = json.loads((ARTIFACT / "manifest.json").read_text())
    layers = stored["mixture"]
    assert stored["routing"] == "normal"
    assert sum(layer["information_bits"] >= 0.5 for layer in layers) >= len(layers) / 2
    assert sum(layer["nmi"]["origin"] >= 0.3 for layer in layers) >= len(layers) / 2
    assert all(share > 0 for layer in layers for share in layer["expert_share"]), "a dead expert"


def test_the_golden_image_is_generated_not_somebody_elses():
    with np.load(ARTIFACT / "golden.npz", allow_pickle=False) as golden:
        image = golden["image"]
    assert any(np.array_equal(image, scene) for scene in scene_images())


def test_the_starter_is_small_enough_to_commit():
    folders = (*REPOSITORY.glob("starter-*"), CHECKPOINT.parent)
    files = [path for folder in folders for path in folder.rglob("*") if path.is_file()]
    assert 10e6 < sum(path.stat().st_size for path in files) <= MOST_BYTES


@pytest.mark.heavy
def test_the_served_starter_has_its_released_map():
    folder = os.environ.get("SPARSIGHT_DATA")
    if not folder:
        pytest.skip("set SPARSIGHT_DATA to a folder that holds bccd/, aquarium/ and playing_cards/")
    parts = recipe_splits("starter", Path(folder))
    assert parts is not None
    assert parts.val is not None
    with serve(repository=REPOSITORY, default_model="starter") as running:
        assert wait_until_ready(running).status_code == 200
        served = evaluate_service(running.url, parts.val)
    released = json.loads((ARTIFACT / "manifest.json").read_text())["parity"]["metric"]
    assert served.images == IMAGES
    assert abs(served.mean_ap.map50_95 - released["graph"]) < 0.001
    assert abs(released["graph"] - released["checkpoint"]) < 0.005
