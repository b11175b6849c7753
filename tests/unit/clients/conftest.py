"""Manifests inside Triton model configurations, and a transport without a network."""

import copy
import hashlib
import json

import numpy as np
import pytest

from clients.manifest import newest_manifest
from clients.version_1 import upgrade
from tests.builders import manifest_for

GRAPH, ENSEMBLE = "tiny-openvino", "tiny-openvino-detect"


def detector_document(version="1", **changes):
    """Return the tiny detector's manifest, version 2."""
    graphs = {"graphs": [{"name": "model", "file": "model.xml"}]}
    return upgrade(manifest_for("tiny", version, "graph")) | graphs | changes


def classifier_document(version="1", **changes):
    """Return the manifest of a classifier for three colours."""
    document = copy.deepcopy(detector_document(version))
    images, *controls = document["inputs"]
    images["resize"] = {"mode": "center_crop", "interpolation": "bilinear"}
    exact = {"absolute": 1e-4, "relative": 0}
    row = {"name": "p", "dtype": "f32", "dims": ["B", 3], "role": "probabilities", "tolerance": exact}
    routing = [output for output in document["outputs"] if output["role"] in ("gates", "router_probs")]
    document |= {
        "task": "classify",
        "task_settings": {"defaults": {"top": 2}},
        "inputs": [images, *controls],
        "outputs": [row, *routing],
    }
    return document | changes


POINT_NAMES = ("nose", "tail")
# Of the graphs of tasks that report more than boxes: settings, and name, dtype and sizes of further outputs.
SHAPES = {
    "segment": (
        {"mask_stride": 4, "prototypes": 2},
        [("mask_coefficients", "f32", [10, 2]), ("prototypes", "f16", [2, 16, 16])],
    ),
    "pose": ({"keypoints": list(POINT_NAMES), "skeleton": [[0, 1]]}, [("keypoints", "f32", [10, 2, 3])]),
    "obb": ({}, [("angles", "f32", [10])]),
}


def shaped_document(task, version="1", **changes):
    """Return the manifest of the tiny model for the task segment, pose or obb."""
    document = detector_document(version)
    settings, outputs = SHAPES[task]
    exact = {"absolute": 1e-4, "relative": 0}
    rows = [
        {"name": name, "dtype": dtype, "dims": ["B", *sizes], "role": name, "tolerance": exact}
        for name, dtype, sizes in outputs
    ]
    return (
        document
        | {
            "task": task,
            "task_settings": document["task_settings"] | settings,
            "outputs": [*document["outputs"], *rows],
        }
        | changes
    )


def parameters_of(*documents):
    """Return the parameters of a model configuration that holds these manifests and their sha256."""
    parameters = {}
    for document in documents:
        text, version = json.dumps(document, indent=2), document.get("version", "1")
        parameters[f"manifest.{version}"] = text
        parameters[f"sha256.{version}"] = hashlib.sha256(text.encode()).hexdigest()
    return parameters


class FakeTransport:
    """Returns manifests, and for each image one red box in the top left quarter of the 64 x 64 input."""

    def __init__(self, *documents):
        self.documents = list(documents) or [detector_document()]
        self.config_reads = 0
        self.asked = []  # names of the requested models
        self.sent = []
        self.stated = []  # parameters of the requests
        self.refusals = []  # errors to raise instead of answers, one per call
        self.changes = {}  # outputs that replace the usual ones
        self.closed = False

    def parameters(self, model, deadline):
        assert model == GRAPH
        assert deadline.left_s() > 0
        self.config_reads += 1
        return parameters_of(*self.documents)

    def infer(self, model, inputs, outputs, deadline, parameters):
        assert deadline.left_s() > 0
        self.asked.append(model)
        self.sent.append(inputs)
        self.stated.append(dict(parameters))
        if self.refusals:
            raise self.refusals.pop(0)
        found = answer_of(1, rows=len(self.documents[-1]["mixture"])) | self.changes
        return {name: found[name] for name in outputs if name in found}

    def close(self):
        self.closed = True


def answer_of(count, rows=2):
    """Return outputs with `count` boxes of classes 0, 1, 2, 0, … and gates of the tiny model's layers."""
    gates = np.zeros((1, rows, 4), np.float32)
    gates[0, :, [1, 2]] = [[0.75], [0.25]]
    return {
        "boxes": np.tile(np.array([[0, 0, 32, 32]], np.float32), (count, 1)),
        "scores": np.linspace(0.9, 0.5, count, dtype=np.float32),
        "class_ids": (np.arange(count) % 3).astype(np.int32),
        "p": np.array([[0.25, 0.125, 0.625]], np.float32),
        "gates": gates,
        "router_probs": np.full((1, rows, 4), 0.25, np.float32),
    }


@pytest.fixture
def document():
    return detector_document()


@pytest.fixture
def manifest(document):
    return newest_manifest(parameters_of(document), GRAPH)


@pytest.fixture
def classifier():
    return newest_manifest(parameters_of(classifier_document()), GRAPH)
