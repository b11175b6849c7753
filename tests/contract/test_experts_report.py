"""The service can read the report on experts that an exporter writes."""

import asyncio
import json
from pathlib import Path

import jsonschema
import pytest
from pydantic import ValidationError

from service.artifact.experts_report import ExpertsReport, read_experts_report
from service.artifact.repository import read_artifact
from service.artifact.routing_file import read_routing
from service.backends.table import BACKENDS
from service.settings import Settings
from tests.path_builders import path_model
from tests.training_builders import plain_model
from tests.unit.training.command_line import failure
from training.data_config import ScenesConfig
from training.errors import ConfigError
from training.export.targets.options import ExportOptions
from training.trainer.checkpoint import save_model
from training.workflows.baseline import data_images, measure_baseline
from training.workflows.experts_report import add_experts_report
from training.workflows.export import export

REPOSITORY = Path(__file__).resolve().parents[2] / "model_repository"
SCHEMA = json.loads((REPOSITORY / "experts.schema.json").read_text())
SCENES = ScenesConfig(images=9, seed=1, image_hw=(64, 64))


def test_the_report_of_the_starter_agrees_with_its_manifest():
    folder = REPOSITORY / "starter-openvino" / "1"
    jsonschema.validate(json.loads((folder / "experts.json").read_text()), SCHEMA)
    manifest = read_artifact(folder).manifest
    report = read_experts_report(folder, manifest)
    assert (report.data, report.images) == (manifest.baseline.data, manifest.baseline.images)
    for found, layer in zip(report.layers, manifest.mixture, strict=True):
        assert found.expert_share == pytest.approx(layer.expert_share, abs=1e-4)
    origins, _, classes = report.groupings
    assert [group.label for group in origins.groups] == ["bccd", "aquarium", "playing_cards"]
    assert {group.label for group in classes.groups} == set(manifest.class_names)


def test_both_sides_read_the_shares_of_paths_alike():
    document = json.loads((REPOSITORY / "starter-openvino" / "1" / "experts.json").read_text())
    rows = {each["name"]: [[0.5, 0.5]] * len(each["groups"]) for each in document["groupings"]}
    document["paths"] = {"path_share": [0.25, 0.75], "shares": rows}
    jsonschema.validate(document, SCHEMA)
    assert ExpertsReport.model_validate_json(json.dumps(document)).paths.path_share == (0.25, 0.75)
    rows["origin"] = [*rows["origin"][1:], [0.5, 0.25, 0.25]]
    with pytest.raises(ValidationError, match="paths: a row of shares must have one number for each path"):
        ExpertsReport.model_validate_json(json.dumps(document))
    rows["origin"] = rows["origin"][1:]
    with pytest.raises(ValidationError, match="paths: shares must have one row for each group"):
        ExpertsReport.model_validate_json(json.dumps(document))
    document["paths"]["more"] = 1
    with pytest.raises(jsonschema.ValidationError):
        jsonschema.validate(document, SCHEMA)


@pytest.fixture(scope="module")
def exported(tmp_path_factory):
    """Export a small model with a report; return the checkpoint and the artifact's version folder."""
    folder = tmp_path_factory.mktemp("exported")
    checkpoint = folder / "model.safetensors"
    save_model(checkpoint, plain_model(num_experts=3, top_k=2), {"data": "generated scenes"})
    options = ExportOptions(unproved=True, execution="dense")
    (made,) = export(
        checkpoint, folder / "repository", "tiny", data=SCENES, targets=["onnx"], options=options
    )
    return checkpoint, made.path


@pytest.mark.heavy
def test_an_export_that_measures_writes_a_report_that_the_service_reads(exported):
    _, folder = exported
    jsonschema.validate(json.loads((folder / "experts.json").read_text()), SCHEMA)
    manifest = read_artifact(folder).manifest
    report = read_experts_report(folder, manifest)
    assert report.images == SCENES.images
    for found, layer in zip(report.layers, manifest.mixture, strict=True):
        assert found.expert_share == pytest.approx(layer.expert_share, abs=1e-4)


@pytest.mark.heavy
def test_the_report_that_is_added_later_is_the_same_and_reaches_triton_s_files(exported):
    checkpoint, folder = exported
    written = (folder / "experts.json").read_bytes()
    manifest = json.loads((folder / "manifest.json").read_text())
    (folder / "experts.json").unlink()
    del manifest["files"]["experts.json"], manifest["experts_report"]
    (folder / "manifest.json").write_text(json.dumps(manifest))
    assert read_experts_report(folder, read_artifact(folder).manifest) is None

    path = add_experts_report(checkpoint, folder.parent, SCENES)

    assert path.read_bytes() == written
    artifact = read_artifact(folder)  # verifies the sha256 of each file
    assert artifact.manifest.experts_report == "experts.json"
    assert artifact.sha256 in (folder.parent / "config.pbtxt").read_text()


@pytest.mark.heavy
def test_a_report_and_a_baseline_are_added_to_an_artifact_with_paths(tmp_path):
    checkpoint, images = tmp_path / "model.safetensors", ScenesConfig(images=100, seed=2, image_hw=(64, 64))
    save_model(checkpoint, path_model(count=2), {"data": "generated scenes"})
    options = ExportOptions(unproved=True, baseline_images=0)
    (made,) = export(
        checkpoint, tmp_path / "repository", "tiny", data=SCENES, targets=["onnx"], options=options
    )
    folder = made.path
    share = read_artifact(folder).manifest.paths.share
    assert sum(share) == pytest.approx(1)
    manifest = json.loads((folder / "manifest.json").read_text())
    del manifest["files"]["experts.json"], manifest["experts_report"]
    (folder / "manifest.json").write_text(json.dumps(manifest))
    written = (folder / "experts.json").read_bytes()
    (folder / "experts.json").unlink()

    path = add_experts_report(checkpoint, folder.parent, SCENES)
    measure_baseline(folder, data_images(images), None, 100)

    assert path.read_bytes() == written
    artifact = read_artifact(folder)  # verifies the sha256 of each file
    report = read_experts_report(folder, artifact.manifest)
    assert report.paths.path_share == pytest.approx(share, abs=1e-4)
    assert artifact.manifest.paths.share == share
    assert [each.controls["top_k"] for each in read_routing(folder, artifact.manifest)] == [2, 1]
    for model in ("tiny-onnx", "tiny-onnx-detect", "tiny-onnx-router", "tiny-onnx-path1-k1"):
        assert artifact.sha256 in (folder.parent.parent / model / "config.pbtxt").read_text()
    asyncio.run(BACKENDS["onnx"].open(artifact, Settings(brownout={"min_top_k": 1})).close())


@pytest.mark.heavy
def test_a_report_from_another_checkpoint_is_refused(exported, tmp_path):
    _, folder = exported
    other = tmp_path / "other.safetensors"
    save_model(other, plain_model(num_experts=2), {})
    with pytest.raises(ConfigError, match=r"was exported from another checkpoint than .*other\.safetensors"):
        add_experts_report(other, folder.parent, SCENES)


def test_a_folder_without_an_artifact_is_refused_in_one_sentence(tmp_path, capsys):
    flags = ("--artifact", str(tmp_path), "--data", str(tmp_path))
    sentence = failure(capsys, "experts-report", "starter", *flags)
    assert "holds no artifact; give a folder <name>-<target> of a repository" in sentence
