"""A model's manifest as Triton's configuration carries it, and a transport without a network."""

import hashlib
import json

import numpy as np
import pytest

from clients.manifest import newest_manifest
from tests.builders import manifest_for

ENSEMBLE = "tiny-openvino-detect"


def parameters_of(*documents):
    """Write manifests into parameters, each with its sum."""
    parameters = {}
    for document in documents:
        text, version = json.dumps(document, indent=2), document.get("version", "1")
        parameters[f"manifest.{version}"] = text
        parameters[f"sha256.{version}"] = hashlib.sha256(text.encode()).hexdigest()
    return parameters


class FakeTransport:
    """Serves manifests, and one red box in the top left quarter of a 64 x 64 canvas."""

    def __init__(self, *documents):
        self.documents = list(documents) or [manifest_for("tiny", "1", "graph")]
        self.config_reads = 0
        self.sent = []
        self.refusals = []  # errors to raise, one a call, before answering
        self.changes = {}  # outputs to replace
        self.closed = False

    def parameters(self, model, deadline):
        assert model == ENSEMBLE
        assert deadline.left_s() > 0
        self.config_reads += 1
        return parameters_of(*self.documents)

    def infer(self, model, inputs, outputs, deadline):
        assert model == ENSEMBLE
        assert deadline.left_s() > 0
        self.sent.append(inputs)
        if self.refusals:
            raise self.refusals.pop(0)
        found = answer_of(1, rows=len(self.documents[-1]["mixture"])) | self.changes
        return {name: found[name] for name in outputs if name in found}

    def close(self):
        self.closed = True


def answer_of(count, rows=2):
    """Outputs with `count` boxes of classes 0, 1, 2, 0, … and gates of the tiny model's mixture layers."""
    gates = np.zeros((1, rows, 4), np.float32)
    gates[0, :, [1, 2]] = [[0.75], [0.25]]
    return {
        "boxes": np.tile(np.array([[0, 0, 32, 32]], np.float32), (count, 1)),
        "scores": np.linspace(0.9, 0.5, count, dtype=np.float32),
        "class_ids": (np.arange(count) % 3).astype(np.int32),
        "gates": gates,
        "router_probs": np.full((1, rows, 4), 0.25, np.float32),
    }


@pytest.fixture
def document():
    return manifest_for("tiny", "1", "graph")


@pytest.fixture
def manifest(document):
    return newest_manifest(parameters_of(document), ENSEMBLE)
