"""Builds plans with TensorRT-RTX, a package with TensorRT's parser and builder that works without a GPU."""

import hashlib
import json

import onnx
import pytest

from tests.unit.training.export.triton.test_options import inputs_of, store
from tests.unit.training.messages import collecting
from training.export.targets.tensorrt_plan import build_plan


def builds_a_plan(proto, folder, *, batch, precision):
    """Build a plan as the exporter does; check that its description is written and recognised."""
    tensorrt = pytest.importorskip("tensorrt_rtx_bindings", reason="TensorRT-RTX is not installed")
    sized = {"inputs": inputs_of((64, 64)), "batch": list(batch)}
    version = store(folder, "tensorrt", **sized, precision=precision)
    onnx.save(proto, version / "model.onnx")
    with collecting() as said:
        for _ in range(2):
            build_plan(version / "model.onnx", tensorrt, "some GPU")
    assert said[1:] == [f"built {version}/model.plan", f"{version}/model.plan fits"]
    plan = (version / "model.plan").read_bytes()
    facts = json.loads((version / "model.plan.json").read_text())
    assert facts["plan_sha256"] == hashlib.sha256(plan).hexdigest()
    assert ("--noTF32" in facts["arguments"]) == (precision == "f32")
    assert not list(version.glob("*.partial"))
    weights = sum(weight.ByteSize() for weight in proto.graph.initializer)
    assert len(plan) > weights / 2, "a plan without its weights is none"
