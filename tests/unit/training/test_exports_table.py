"""The table of artifacts, for the committed model repository."""

import json
import shutil
from pathlib import Path

import pytest

from training.__main__ import main
from training.lab.tables.exports import COLUMNS, exports_json, exports_table

REPOSITORY = Path(__file__).resolve().parents[3] / "model_repository"


def test_every_artifact_has_its_line_and_companions_without_a_manifest_have_none():
    head, *lines = exports_table(REPOSITORY).partition("\n\n")[0].splitlines()
    assert head.split() == " ".join(COLUMNS).split()
    folders = sorted(path.parents[1].name for path in REPOSITORY.glob("*/*/manifest.json"))
    assert [line.split("/")[0] for line in lines] == folders
    assert "starter-openvino" in folders


def test_a_line_says_what_the_manifest_says(tmp_path):
    shutil.copytree(REPOSITORY / "starter-openvino", tmp_path / "starter-openvino")
    path = tmp_path / "starter-openvino" / "1" / "manifest.json"
    manifest = json.loads(path.read_text())
    metric = {"name": "map50_95", "checkpoint": 0.6119, "graph": 0.6124}
    manifest["parity"] |= {"expert_sets": 0.987, "metric": metric}
    manifest["speed"] = {"sparse_to_dense": 0.8, "sparse_ms": 8.0, "dense_ms": 10.0, "machine": "this"}
    manifest |= {"precision": "f32", "execution": "dense"}
    path.write_text(json.dumps(manifest))
    line = exports_table(tmp_path).splitlines()[1]
    assert "starter-openvino/1" in line
    assert "f32 dense (0.80)" in line
    assert f"98.7% of {manifest['parity']['distinct_expert_sets']}" in line
    assert line.endswith("0.6119 0.6124")


@pytest.mark.parametrize(
    ("differences", "shown"),
    [
        ({"masks": 0.0123, "mask_coefficients": 0.5, "prototypes": 0.25}, "0.012 1-IoU"),
        ({"visibilities": 0.5, "keypoints": 0.0345}, "0.035 px"),
        ({"angles": 0.00067}, "0.00067 rad"),
        ({}, "-"),
    ],
)
def test_shapes_have_their_own_units(tmp_path, differences, shown):
    shutil.copytree(REPOSITORY / "starter-openvino", tmp_path / "starter-openvino")
    path = tmp_path / "starter-openvino" / "1" / "manifest.json"
    manifest = json.loads(path.read_text())
    both = {"boxes": 0.0078, "scores": 0.0009, "gates": 0.0001}
    manifest["parity"]["differences"] = {**both, **differences}
    path.write_text(json.dumps(manifest))
    line = exports_table(tmp_path).splitlines()[1]
    assert f" 0.0078 0.0009 {shown} 0.0001 " in " ".join(line.split())


def test_machines_get_parity_whole():
    first = next(
        row
        for row in json.loads(exports_json(REPOSITORY))
        if (row["name"], row["target"]) == ("starter", "openvino")
    )
    stored = json.loads((REPOSITORY / "starter-openvino" / "1" / "manifest.json").read_text())
    assert first["parity"] == stored["parity"]


@pytest.mark.parametrize("arguments", [[], ["--json"]])
def test_an_empty_repository_is_said_with_what_fills_it(arguments, tmp_path, capsys):
    assert main(["exports", "--repository", str(tmp_path), *arguments]) == 1
    assert "python -m training export writes them" in capsys.readouterr().err
