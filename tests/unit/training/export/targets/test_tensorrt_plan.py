"""TensorRT plans at export: build arguments, and the message if a plan cannot be built."""

import sys
from pathlib import Path
from types import SimpleNamespace

import pytest

from tests.unit.training.export.triton.test_options import inputs_of, store
from tests.unit.training.messages import collecting
from training.export.artifact.stored_manifest import StoredManifest, read_manifests
from training.export.targets.tensorrt_plan import gpu_names, offer_plan, plan_arguments, version_number

MODEL = Path("model.onnx")


def stored(folder) -> StoredManifest:
    return read_manifests(folder.parent)[0]


def batches(sizes):
    return {"inputs": inputs_of((384, 512)), "batch": list(sizes)}


def test_any_batch_is_built_for_from_the_smallest_to_the_largest(tmp_path):
    known = stored(store(tmp_path, "tensorrt", **batches(range(1, 9)), precision="f32"))
    assert plan_arguments(known, MODEL) == [
        "--minShapes=images:1x384x512x3,top_k:1x1,weight_threshold:1x1",
        "--optShapes=images:8x384x512x3,top_k:8x1,weight_threshold:8x1",
        "--maxShapes=images:8x384x512x3,top_k:8x1,weight_threshold:8x1",
        "--stronglyTyped",
        "--noTF32",
    ]


def test_a_fixed_batch_in_half_precision_needs_neither_shapes_nor_a_word_on_tf32(tmp_path):
    fixed = stored(store(tmp_path, "tensorrt", **batches([4]), precision="f16"))
    assert plan_arguments(fixed, MODEL) == ["--stronglyTyped"]


@pytest.mark.parametrize(("version", "number"), [("10.13.3.9", "101303"), ("11.4.0.106", "110400")])
def test_versions_are_written_as_trtexec_writes_them(version, number):
    assert version_number(version) == number


def test_without_tensorrt_it_says_so_and_how_to_build_elsewhere(tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "tensorrt", None)
    folder = store(tmp_path, "tensorrt", **batches(range(1, 9)))
    with collecting() as said:
        offer_plan(folder)
    assert said[0].startswith("No plan was built: the Python package tensorrt is not installed")
    assert f"cd {folder} && trtexec --onnx=model.onnx" in said[0]
    assert not list(folder.glob("*plan*"))


@pytest.mark.parametrize(
    ("script", "message"),
    [
        ("exit 9", "nvidia-smi finds no GPU on this machine"),
        ("true", "nvidia-smi names no GPU"),
        (None, "nvidia-smi finds no GPU on this machine"),
    ],
)
def test_without_a_gpu_it_says_so(tmp_path, monkeypatch, script, message):
    (tmp_path / "bin").mkdir()
    if script is not None:
        (tmp_path / "bin" / "nvidia-smi").write_text(f"#!/bin/sh\n{script}\n")
        (tmp_path / "bin" / "nvidia-smi").chmod(0o755)
    monkeypatch.setenv("PATH", str(tmp_path / "bin"))
    monkeypatch.setitem(sys.modules, "tensorrt", SimpleNamespace(__version__="11.4.0.106"))
    with collecting() as said:
        offer_plan(store(tmp_path, "tensorrt", **batches(range(1, 9))))
    assert said[0].startswith(f"No plan was built: {message}.\nTriton cannot load")


def test_several_kinds_of_gpu_are_all_named(tmp_path, monkeypatch):
    (tmp_path / "nvidia-smi").write_text("#!/bin/sh\nprintf 'NVIDIA L4\\nNVIDIA A100\\nNVIDIA L4\\n'\n")
    (tmp_path / "nvidia-smi").chmod(0o755)
    monkeypatch.setenv("PATH", str(tmp_path))
    assert gpu_names() == "NVIDIA A100+NVIDIA L4"
