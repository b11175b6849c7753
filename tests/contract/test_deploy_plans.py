"""build_plans.sh builds the plans that are missing or outdated, in the same way as the exporter.

Scripts replace trtexec and nvidia-smi, so that the tests need no GPU.
"""

import hashlib
import json
import os
import subprocess
from dataclasses import dataclass
from pathlib import Path
from types import SimpleNamespace

import pytest

from tests.unit.training.messages import collecting
from training.export.targets.tensorrt_plan import build_plan, gpu_names

CONTROLS = ("top_k", "weight_threshold")
SCRIPT = Path(__file__).resolve().parents[2] / "deploy" / "docker" / "build_plans.sh"
TRTEXEC = """#!/usr/bin/env bash
echo "&&&& RUNNING TensorRT.trtexec [TensorRT v${FAKE_TENSORRT:-101303}] [b9] # trtexec $*"
[ "$1" = --help ] && exit 0
printf '%s\\n' "$@" >"$FAKE_LOG.$(ls "$FAKE_LOG".* 2>/dev/null | wc -l)"
for argument in "$@"; do
  case "$argument" in
    --onnx=*) onnx="${argument#*=}" ;;
    --saveEngine=*) plan="${argument#*=}" ;;
  esac
done
echo half >"$plan"
grep -q broken "$onnx" && exit 1
[ -n "${FAKE_EMPTY:-}" ] && { : >"$plan"; exit 0; }
echo "plan of $(cat "$onnx")" >"$plan"
"""
NVIDIA_SMI = """#!/usr/bin/env bash
[ -n "${FAKE_GPUS:-}" ] || exit 9
printf "$FAKE_GPUS"
"""


@dataclass(frozen=True)
class Machine:
    """A model repository, and scripts that replace NVIDIA's tools on PATH."""

    folder: Path

    @property
    def repository(self):
        return self.folder / "models"

    def add(self, name, *, onnx="graph", precision="f32", controls=CONTROLS, batch=(1, 8), schema_version=2):
        version = self.repository / name / "1"
        version.mkdir(parents=True)
        (version / "model.onnx").write_text(onnx)
        batches = list(range(batch[0], batch[1] + 1))
        manifest = {
            "schema_version": 2,
            "precision": precision,
            "batch": batches,
            "inputs": [
                {"name": "images", "dtype": "u8", "dims": ["B", 384, 512, 3], "role": "images"},
                *({"name": name, "dtype": "f32", "dims": ["B", 1], "role": "control"} for name in controls),
            ],
        }
        if schema_version == 1:
            manifest = {
                "schema_version": 1,
                "precision": precision,
                "input": {"name": "images", "height": 384, "width": 512, "batch": batches},
                "controls": {name: {} if name in controls else None for name in CONTROLS},
            }
        (version / "manifest.json").write_text(json.dumps(manifest))
        return version

    def build(self, *, gpus="NVIDIA L4\\n", **variables):
        """Run the script; return the finished process and the arguments of every plan that was built."""
        log = self.folder / "calls" / "call"
        for old in log.parent.iterdir():
            old.unlink()
        environment = {
            "PATH": f"{self.folder / 'bin'}:{os.environ['PATH']}",
            "FAKE_LOG": str(log),
            "FAKE_GPUS": gpus,
        }
        done = subprocess.run(
            ["bash", SCRIPT, self.repository],
            env=environment | variables, capture_output=True, text=True, check=False,
        )  # fmt: skip
        return done, [path.read_text().splitlines() for path in sorted(log.parent.iterdir())]


@pytest.fixture
def machine(tmp_path):
    for name in ("models", "bin", "calls"):
        (tmp_path / name).mkdir()
    for name, text in (("trtexec", TRTEXEC), ("nvidia-smi", NVIDIA_SMI)):
        (tmp_path / "bin" / name).write_text(text)
        (tmp_path / "bin" / name).chmod(0o755)
    return Machine(tmp_path)


@pytest.mark.parametrize("schema_version", [1, 2])
def test_a_plan_is_built_for_the_shapes_of_the_manifest(machine, schema_version):
    version = machine.add("starter-tensorrt", schema_version=schema_version)
    done, calls = machine.build()
    assert done.returncode == 0, done.stderr
    assert calls == [
        [
            f"--onnx={version}/model.onnx",
            f"--saveEngine={version}/model.plan.partial",
            "--skipInference",
            "--minShapes=images:1x384x512x3,top_k:1x1,weight_threshold:1x1",
            "--optShapes=images:8x384x512x3,top_k:8x1,weight_threshold:8x1",
            "--maxShapes=images:8x384x512x3,top_k:8x1,weight_threshold:8x1",
            "--stronglyTyped",
            "--noTF32",
        ]
    ]
    assert (version / "model.plan").read_text() == "plan of graph\n"
    facts = json.loads((version / "model.plan.json").read_text())
    assert (facts["gpu"], facts["tensorrt"]) == ("NVIDIA L4", "101303")
    assert facts["onnx_sha256"] == hashlib.sha256(b"graph").hexdigest()
    assert facts["plan_sha256"] == hashlib.sha256(b"plan of graph\n").hexdigest()
    assert not list(version.glob("*.partial"))


@pytest.mark.parametrize("schema_version", [1, 2])
def test_a_model_without_run_time_controls_and_in_half_precision(machine, schema_version):
    about = {"controls": (), "precision": "f16", "batch": (1, 4)}
    machine.add("plain-tensorrt", **about, schema_version=schema_version)
    _, (arguments,) = machine.build()
    assert "--minShapes=images:1x384x512x3" in arguments
    assert "--maxShapes=images:4x384x512x3" in arguments
    assert arguments[-1] == "--stronglyTyped"


def test_each_graph_of_a_model_with_paths_gets_a_plan_for_images_alone(machine, monkeypatch):
    """Also in half precision, the router is in float32."""
    version = machine.add("roads-tensorrt", precision="f16", controls=("top_k",), batch=(1, 4))
    manifest = json.loads((version / "manifest.json").read_text())
    names = ["router", "path0-k1"]
    manifest["graphs"] = [{"name": name, "file": f"{name}.onnx"} for name in names]
    manifest["paths"] = {"router": "router"}
    (version / "manifest.json").write_text(json.dumps(manifest))
    (version / "model.onnx").unlink()
    for name in names:
        (version / f"{name}.onnx").write_text(f"graph of {name}")
    done, calls = machine.build()
    assert done.returncode == 0, done.stderr
    shapes = [f"--{size}Shapes=images:{n}x384x512x3" for size, n in (("min", 1), ("opt", 4), ("max", 4))]
    assert [call[3:] for call in calls] == [
        [*shapes, "--stronglyTyped"],
        [*shapes, "--stronglyTyped", "--noTF32"],
    ]
    assert (version / "router.plan").read_text() == "plan of graph of router\n"
    monkeypatch.setenv("PATH", f"{machine.folder / 'bin'}:{os.environ['PATH']}")
    monkeypatch.setenv("FAKE_GPUS", "NVIDIA L4\\n")
    with collecting() as said:
        for name in names:
            build_plan(version / f"{name}.onnx", SimpleNamespace(__version__="10.13.3.9"), gpu_names())
    assert said == [f"{version}/{name}.plan fits" for name in names], "else it would have built them anew"


def test_a_graph_of_one_fixed_size_is_given_no_shapes(machine):
    machine.add("fixed-tensorrt", precision="f16", batch=(4, 4))
    _, (arguments,) = machine.build()
    assert arguments[3:] == ["--stronglyTyped"]


@pytest.mark.parametrize("gpus", ["NVIDIA L4\\n", "NVIDIA L4\\nNVIDIA A100\\nNVIDIA L4\\n"])
@pytest.mark.parametrize(
    "about", [{}, {"precision": "f16", "batch": (4, 4)}, {"controls": (), "precision": "f16"}]
)
def test_the_exporter_accepts_a_plan_that_the_script_built(machine, monkeypatch, gpus, about):
    version = machine.add("starter-tensorrt", **about)
    assert machine.build(gpus=gpus)[0].returncode == 0
    monkeypatch.setenv("PATH", f"{machine.folder / 'bin'}:{os.environ['PATH']}")
    monkeypatch.setenv("FAKE_GPUS", gpus)
    with collecting() as said:
        build_plan(version / "model.onnx", SimpleNamespace(__version__="10.13.3.9"), gpu_names())
    assert said == [f"{version}/model.plan fits"], "else it would have built it anew"


def test_a_plan_that_fits_is_left_alone(machine):
    machine.add("starter-tensorrt")
    machine.build()
    done, calls = machine.build()
    assert (done.returncode, calls) == (0, [])
    assert "fits" in done.stdout


@pytest.mark.parametrize(
    "change",
    [
        pytest.param({"gpus": "NVIDIA H200\\n"}, id="another GPU"),
        pytest.param({"gpus": "NVIDIA L4\\nNVIDIA T4\\n"}, id="another kind of GPU beside it"),
        pytest.param({"FAKE_TENSORRT": "101400"}, id="another TensorRT"),
        pytest.param({"edit": ("model.onnx", "better graph")}, id="another model"),
        pytest.param({"edit": ("model.plan", "plan of gr")}, id="a damaged plan"),
        pytest.param({"edit": ("model.plan.json", "{")}, id="a damaged description"),
        pytest.param({"remove": "model.plan.json"}, id="a plan of unknown origin"),
        pytest.param({"remove": "model.plan"}, id="no plan"),
    ],
)
def test_a_plan_that_does_not_fit_is_built_again(machine, change):
    version = machine.add("starter-tensorrt")
    machine.build()
    if "edit" in change:
        name, text = change.pop("edit")
        (version / name).write_text(text)
    if "remove" in change:
        (version / change.pop("remove")).unlink()
    done, calls = machine.build(**change)
    assert (done.returncode, len(calls)) == (0, 1)
    done, calls = machine.build(**change)
    assert (done.returncode, calls) == (0, [])


def test_two_gpus_of_one_kind_share_a_plan(machine):
    machine.add("starter-tensorrt")
    machine.build()
    assert machine.build(gpus="NVIDIA L4\\nNVIDIA L4\\n")[1] == []


def test_one_model_that_cannot_be_built_fails_the_run_and_not_the_others(machine):
    broken = machine.add("a-tensorrt", onnx="broken")
    good = machine.add("b-tensorrt")
    unreadable = machine.add("c-tensorrt")
    (unreadable / "manifest.json").write_text("{")
    done, calls = machine.build()
    assert (done.returncode, len(calls)) == (1, 2)
    assert str(broken) in done.stderr
    assert (good / "model.plan").exists()
    assert sorted(path.name for path in broken.iterdir()) == ["manifest.json", "model.onnx"]
    assert not (unreadable / "model.plan").exists()


def test_an_empty_plan_fails_the_build(machine):
    version = machine.add("starter-tensorrt")
    assert machine.build(FAKE_EMPTY="1")[0].returncode == 1
    assert not list(version.glob("model.plan*"))


def test_a_failed_build_leaves_the_plan_before_it(machine):
    version = machine.add("starter-tensorrt")
    machine.build()
    (version / "model.onnx").write_text("broken")
    assert machine.build()[0].returncode == 1
    assert (version / "model.plan").read_text() == "plan of graph\n"
    assert machine.build()[0].returncode == 1  # and it is not taken for a plan that fits


def test_other_targets_and_unfinished_artifacts_are_ignored(machine):
    machine.add("starter-onnx")
    machine.add(".staging-1-tensorrt")
    done, calls = machine.build()
    assert (done.returncode, calls) == (0, [])
    assert "no model for TensorRT" in done.stdout


def test_without_a_gpu_it_says_so(machine):
    machine.add("starter-tensorrt")
    done, calls = machine.build(gpus="")
    assert (done.returncode, calls) == (1, [])
    assert "names no GPU" in done.stderr
