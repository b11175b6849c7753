"""The golden sample is read completely and compared value by value."""

import hashlib
import json

import numpy as np
import pytest

from service.artifact.golden import compare_input, compare_outputs, load_golden
from service.artifact.manifest import parse_manifest
from service.artifact.repository import read_artifact
from service.errors import ArtifactBroken, ArtifactMismatch
from tests.builders import build_artifact, write_manifest


def test_the_sample_holds_what_the_exporter_got(artifact):
    golden = load_golden(artifact)
    assert golden.answer("det_boxes_xyxy").tolist() == [[4, 4, 36, 36]]
    assert golden.answer("det_class_ids").tolist() == [0]
    assert set(golden.outputs) == {"boxes", "scores", "class_ids", "gates", "router_probs"}


def test_the_input_may_differ_by_one_level_and_not_by_two(artifact):
    golden = load_golden(artifact)
    compare_input(golden.input + np.uint8(1), golden, artifact.manifest)
    with pytest.raises(ArtifactMismatch, match="input differs by 2; the limit is 1"):
        compare_input(golden.input + np.uint8(2), golden, artifact.manifest)


def test_a_shape_that_differs_is_named(artifact):
    with pytest.raises(ArtifactMismatch, match=r"input \(shape"):
        compare_input(np.zeros((1, 32, 32, 3), np.uint8), load_golden(artifact), artifact.manifest)


@pytest.mark.parametrize("name", ["gates", "router_probs"])
@pytest.mark.parametrize("wrong", [0.001, np.nan])
def test_an_output_that_differs_is_named(artifact, name, wrong):
    golden = load_golden(artifact)
    outputs = golden.outputs | {name: golden.outputs[name] + np.float32(wrong)}
    with pytest.raises(ArtifactMismatch, match=f"{name} differs by"):
        compare_outputs(outputs, golden, artifact.manifest)


def test_rows_that_may_swap_places_are_left_to_the_task(artifact):
    golden = load_golden(artifact)
    swapped = {name: golden.outputs[name][:, ::-1] for name in ("boxes", "scores", "class_ids")}
    compare_outputs(golden.outputs | swapped, golden, artifact.manifest)


@pytest.mark.parametrize(("error", "fits"), [(0.029, True), (0.031, False)])
def test_the_limit_is_absolute_and_relative_together(tiny, artifact, error, fits):
    golden = load_golden(artifact)
    document = json.loads(json.dumps(tiny.manifest))
    document["outputs"][4]["tolerance"] = {"absolute": 0.01, "relative": 0.02}  # of router_probs
    manifest = parse_manifest(json.dumps(document).encode(), "manifest.json")
    ones = golden.outputs | {"router_probs": np.ones_like(golden.outputs["router_probs"])}
    wanted = type(golden)(golden.image, golden.input, ones, golden.arrays, golden.where)
    moved = ones | {"router_probs": ones["router_probs"] + np.float32(error)}
    if fits:
        compare_outputs(moved, wanted, manifest)
    else:
        with pytest.raises(ArtifactMismatch, match=r"router_probs differs by 0\.031.*the limit is 0\.03"):
            compare_outputs(moved, wanted, manifest)


def rewrite_golden(built, change):
    path = built.folder / "golden.npz"
    arrays = dict(np.load(path))
    change(arrays)
    np.savez(path, **arrays)
    files = built.manifest["files"] | {"golden.npz": hashlib.sha256(path.read_bytes()).hexdigest()}
    write_manifest(built.folder, built.manifest | {"files": files})
    return read_artifact(built.folder)


@pytest.mark.parametrize(
    ("change", "sentence"),
    [
        pytest.param(lambda arrays: arrays.pop("gates"), "no array 'gates'", id="an output is missing"),
        pytest.param(lambda arrays: arrays.update(image=np.zeros(3)), "not uint8", id="no image"),
        pytest.param(
            lambda arrays: arrays.update(input=np.array([{"a": 1}], dtype=object)), "pickle", id="pickle"
        ),
    ],
)
def test_a_broken_sample_is_refused(tmp_path, change, sentence):
    artifact = rewrite_golden(build_artifact(tmp_path), change)
    with pytest.raises(ArtifactBroken, match=sentence):
        load_golden(artifact)


def test_an_answer_that_is_missing_is_named(tmp_path):
    artifact = rewrite_golden(build_artifact(tmp_path), lambda arrays: arrays.pop("det_scores"))
    with pytest.raises(ArtifactBroken, match="has no array 'det_scores'"):
        load_golden(artifact).answer("det_scores")
