"""The manifest is read strictly, and its numbers must agree with each other."""

import copy
import json

import pytest

from service.artifact.manifest import parse_manifest
from service.errors import ArtifactBroken


def parse_changed(tiny, change):
    document = copy.deepcopy(tiny.manifest)
    change(document)
    return parse_manifest(json.dumps(document).encode(), "manifest.json")


def test_a_whole_manifest_is_read(artifact):
    assert artifact.manifest.graph_file == "model.xml"
    assert artifact.manifest.output_names == ("boxes", "scores", "class_ids", "gates", "router_probs")
    assert [layer.layer for layer in artifact.manifest.mixture] == ["backbone.p4", "backbone.p5"]


def test_a_model_without_mixture_layers_needs_no_gates(tiny):
    manifest = parse_changed(tiny, lambda document: document.update(mixture=[]))
    assert manifest.output_names == ("boxes", "scores", "class_ids")


def swap_rows(document):
    document["mixture"][1]["row"] = 2


@pytest.mark.parametrize(
    ("change", "sentence"),
    [
        pytest.param(lambda d: d.update(colour="red"), "colour: Extra inputs", id="unknown key"),
        pytest.param(lambda d: d["input"].pop("width"), "input.width: Field required", id="missing key"),
        pytest.param(lambda d: d["input"].update(width=640.5), "input.width", id="fraction of a pixel"),
        pytest.param(lambda d: d["input"].update(width="640"), "input.width", id="number as text"),
        pytest.param(swap_rows, "rows must be 0..1", id="row beyond the layers"),
        pytest.param(
            lambda d: d["mixture"][0].update(expert_gflops=[1.0]), "1 entries for 4", id="one cost for four"
        ),
        pytest.param(
            lambda d: d["mixture"][0].update(expert_share=[0.5]), "1 entries for 4", id="one share for four"
        ),
        pytest.param(
            lambda d: d["mixture"][1].update(layer="backbone.p4"), "layer appears twice", id="layer twice"
        ),
        pytest.param(
            lambda d: d["controls"]["top_k"].update(default=5), "default 5 is not one of", id="top_k default"
        ),
        pytest.param(lambda d: d["golden"].update(top_k=9), "golden.top_k", id="golden top_k"),
        pytest.param(
            lambda d: d["controls"].update(weight_threshold=None), "weight_threshold", id="golden threshold"
        ),
        pytest.param(lambda d: d.update(class_names=["a", "a"]), "appears twice", id="class twice"),
        pytest.param(lambda d: d["files"].pop("golden.npz"), "golden.npz is missing", id="no golden"),
        pytest.param(lambda d: d.update(target="onnx"), "exactly one .onnx", id="graph of another target"),
        pytest.param(
            lambda d: d["files"].update({"../passwd": "0" * 64}), "not a plain file name", id="path"
        ),
    ],
)
def test_a_wrong_manifest_is_refused_with_its_field(tiny, change, sentence):
    with pytest.raises(ArtifactBroken, match=r"manifest\.json: ") as caught:
        parse_changed(tiny, change)
    assert sentence in str(caught.value)


def test_bytes_that_are_not_json_are_refused():
    with pytest.raises(ArtifactBroken, match="Invalid JSON"):
        parse_manifest(b"\xff{", "manifest.json")
