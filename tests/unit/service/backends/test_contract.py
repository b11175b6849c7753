"""Inputs, outputs and batch sizes of a graph must match the rows of the manifest."""

import json

import numpy as np
import pytest

from service.artifact.manifest import parse_manifest
from service.backends.contract import Port, check_batch, check_outputs, check_ports
from service.errors import ArtifactBroken, BackendFailed
from tests.builders import compile_graph, golden_image, run_graph

INPUTS = {"images": Port("images", "u8", (1, 64, 64, 3)), "top_k": Port("top_k", "i64", (1, 1))}
INPUTS |= {"weight_threshold": Port("weight_threshold", "f32", (1, 1))}
OUTPUTS = {
    "boxes": Port("boxes", "f32", (1, 4, 4)),
    "scores": Port("scores", "f32", (1, 4)),
    "class_ids": Port("class_ids", "i32", (1, 4)),
    "gates": Port("gates", "f32", (1, 2, 4)),
    "router_probs": Port("router_probs", "f32", (1, 2, 4)),
}


def check(manifest, inputs=(), outputs=()):
    """Check ports some of which are replaced."""
    ports = [dict(table) for table in (INPUTS, OUTPUTS)]
    for table, changes in zip(ports, (inputs, outputs), strict=True):
        table.update({port.name: port for port in changes})
    check_ports(manifest, "model.xml", list(ports[0].values()), list(ports[1].values()))


def test_the_ports_of_the_graph_fit(artifact):
    check(artifact.manifest)


def test_what_a_graph_leaves_open_differs_from_nothing(artifact):
    check(
        artifact.manifest, [Port("images", "u8", (None, 64, None, 3))], [Port("scores", "f32", (None, None))]
    )


@pytest.mark.parametrize(
    ("port", "sentence"),
    [
        (Port("boxes", "f16", (1, 4, 4)), r"output 'boxes' is f16 \[1, 4, 4\]; its manifest says f32"),
        (Port("boxes", "f32", (1, 5, 4)), r"is f32 \[1, 5, 4\]; its manifest says f32 \[B, 4, 4\]"),
        (Port("boxes", "f32", (1, 4)), r"is f32 \[1, 4\]"),
        (Port("boxes", "f32", (2, 4, 4)), r"\[2, 4, 4\].* for batches of 1"),
        (Port("boxes", "f32", (None, 5, 4)), r"\[\?, 5, 4\]"),
        (Port("more", "f32", (1, 4, 4)), "an output 'more' that its manifest does not name"),
    ],
)
def test_an_output_that_differs_is_named(artifact, port, sentence):
    with pytest.raises(ArtifactBroken, match=sentence):
        check(artifact.manifest, outputs=[port])


def test_a_graph_of_a_fixed_batch_takes_no_other(artifact):
    manifest = artifact.manifest.model_copy(update={"batch": (1, 8)})
    with pytest.raises(ArtifactBroken, match=r"input 'images' is u8 \[1, .* for batches of 1, 8"):
        check(manifest)


@pytest.mark.parametrize("missing", [*INPUTS, *OUTPUTS])
def test_a_tensor_that_is_missing_is_named(artifact, missing):
    inputs = [port for name, port in INPUTS.items() if name != missing]
    outputs = [port for name, port in OUTPUTS.items() if name != missing]
    with pytest.raises(ArtifactBroken, match=f"put '{missing}', which its manifest names"):
        check_ports(artifact.manifest, "model.xml", inputs, outputs)


def test_a_batch_the_graph_was_not_made_for_is_refused(artifact):
    manifest = artifact.manifest.model_copy(update={"batch": (1, 4)})
    for batch in (1, 4):
        assert check_batch(manifest, {"images": np.zeros((batch, 64, 64, 3))}) == batch
    with pytest.raises(BackendFailed, match="takes batches of 1, 4, not 2"):
        check_batch(manifest, {"images": np.zeros((2, 64, 64, 3))})


@pytest.fixture
def outputs(artifact):
    return run_graph(compile_graph(artifact.graph), golden_image()[None], top_k=2)


def test_the_outputs_of_the_graph_fit(artifact, outputs):
    check_outputs(outputs, artifact.manifest, 1, "triton")


@pytest.mark.parametrize(
    ("name", "wrong"),
    [
        ("boxes", np.zeros((1, 4), np.float32)),
        ("boxes", np.zeros((1, 4, 5), np.float32)),
        ("scores", np.zeros((1, 3), np.float32)),
        ("scores", np.zeros((1, 4), np.float64)),
        ("class_ids", np.zeros((1, 4), np.int64)),
        ("gates", np.zeros((1, 2, 3), np.float32)),
        ("router_probs", np.zeros((2, 2, 4), np.float32)),
    ],
)
def test_another_shape_or_type_is_refused(artifact, outputs, name, wrong):
    with pytest.raises(BackendFailed, match=f"triton answered {name} as .* the manifest says"):
        check_outputs(outputs | {name: wrong}, artifact.manifest, 1, "triton")


def test_an_output_of_a_role_that_nobody_knows_is_held_to_its_row_too(tiny, outputs):
    document = json.loads(json.dumps(tiny.manifest))
    document["outputs"].append(document["outputs"][1] | {"name": "depth", "role": "depth", "dtype": "f16"})
    manifest = parse_manifest(json.dumps(document).encode(), "manifest.json")
    check_outputs(outputs | {"depth": np.zeros((1, 4), np.float16)}, manifest, 1, "triton")
    with pytest.raises(BackendFailed, match="depth as float32"):
        check_outputs(outputs | {"depth": np.zeros((1, 4), np.float32)}, manifest, 1, "triton")
