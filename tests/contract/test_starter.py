"""The committed starter: whole, proved by its golden sample, and as good served as it was trained."""

import json
import os
from pathlib import Path

import numpy as np
import onnxruntime
import pytest

from service.artifact.repository import find_artifacts
from tests.integration.service.conftest import serve, wait_until_ready
from training.commands.measure import evaluate_checkpoint, evaluate_service
from training.config import FolderConfig
from training.export.manifest import sha256_of
from training.trainer.checkpoint import load_model

ROOT = Path(__file__).resolve().parents[2]
REPOSITORY = ROOT / "model_repository"
CHECKPOINT = ROOT / "training" / "starter" / "model.safetensors"


@pytest.fixture
def bccd() -> FolderConfig:
    folder = os.environ.get("SPARSIGHT_DATA")
    if not folder:
        pytest.skip("set SPARSIGHT_DATA to a folder that holds bccd/")
    names = load_model(CHECKPOINT)[0].config.class_names
    return FolderConfig(root=str(Path(folder) / "bccd"), split="val", class_names=names)


@pytest.mark.parametrize("target", ["openvino", "onnx"])
def test_every_committed_artefact_reproduces_its_golden_sample(target):
    with serve(repository=REPOSITORY, target=target, default_model="starter") as running:
        assert wait_until_ready(running).status_code == 200, "not ready before the sample is reproduced"


@pytest.mark.parametrize("target", ["openvino", "onnx"])
def test_the_artefacts_come_from_the_committed_checkpoint(target):
    starter = next(a for a in find_artifacts(REPOSITORY, target) if a.manifest.name == "starter")
    assert starter.manifest.provenance.checkpoint_sha256 == sha256_of(CHECKPOINT)
    model, _ = load_model(CHECKPOINT)
    assert tuple(starter.manifest.class_names) == model.config.class_names
    assert [row.num_experts for row in starter.manifest.mixture] == [4, 4, 4, 4]
    assert "BCCD" in starter.manifest.provenance.attribution


def test_the_onnx_twin_gives_its_golden_outputs_in_another_engine():
    folder = REPOSITORY / "starter-onnx" / "1"
    session = onnxruntime.InferenceSession(folder / "model.onnx", providers=["CPUExecutionProvider"])
    with np.load(folder / "golden.npz", allow_pickle=False) as golden:
        names = [output.name for output in session.get_outputs()]
        inputs = {
            "images": golden["input"],
            "top_k": np.array([[2]], dtype=np.int64),
            "weight_threshold": np.zeros((1, 1), dtype=np.float32),
        }
        got = dict(zip(names, session.run(names, inputs), strict=True))
        assert names == ["boxes", "class_scores", "gates", "router_probs"]
        for name in ("class_scores", "gates", "router_probs"):
            assert np.abs(got[name] - golden[name]).max() < 1e-4, name
        allowed = 1e-3 + 1e-5 * np.abs(golden["boxes"])
        assert (np.abs(got["boxes"] - golden["boxes"]) <= allowed).all()


def test_the_golden_picture_is_generated_not_somebody_elses():
    folder = REPOSITORY / "starter-openvino" / "1"
    with np.load(folder / "golden.npz", allow_pickle=False) as golden:
        image = golden["image"]
    from training.commands.export import scene_pictures

    assert any(np.array_equal(image, scene) for scene in scene_pictures())


def test_the_starter_is_small_enough_to_commit():
    folders = (REPOSITORY / "starter-openvino", REPOSITORY / "starter-onnx", CHECKPOINT.parent)
    files = [path for folder in folders for path in folder.rglob("*") if path.is_file()]
    assert 20e6 < sum(path.stat().st_size for path in files) < 45e6


@pytest.mark.heavy
def test_served_and_trained_models_have_the_same_map(bccd):
    trained = evaluate_checkpoint(CHECKPOINT, bccd, quiet=True).mean_ap
    with serve(repository=REPOSITORY, default_model="starter") as running:
        assert wait_until_ready(running).status_code == 200
        served, images = evaluate_service(running.url, bccd, quiet=True)
    assert images == 87
    assert abs(served.map50 - trained.map50) < 0.001
    assert abs(served.map50_95 - trained.map50_95) < 0.001
    manifest = json.loads((REPOSITORY / "starter-openvino" / "1" / "manifest.json").read_text())
    assert trained.map50 == pytest.approx(manifest["provenance"]["metrics"]["bccd_val_map50"], abs=0.001)
