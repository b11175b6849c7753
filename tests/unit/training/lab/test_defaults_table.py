"""`inspect` and `exports` tell the defaults of an artifact's controls and why it has them."""

import json
import shutil
from pathlib import Path

import pytest

from training.__main__ import main
from training.lab.tables.exports import exports_json, exports_table

REPOSITORY = Path(__file__).resolve().parents[4] / "model_repository"
SETTINGS = [
    {"top_k": 2, "weight_threshold": 0.0, "metric": 0.5, "expert_share": 0.5, "gflops": 3.23, "ms": 6.0},
    {"top_k": 2, "weight_threshold": 0.3, "metric": 0.4995, "expert_share": 0.31, "gflops": 2.47, "ms": 5.4},
]
STATED = {
    "reason": "fewest GFLOPs of all",
    "data": "cells train",
    "images": 128,
    "metric": "map50_95",
    "measured": [{**SETTINGS[0], "same_experts": None}, {**SETTINGS[1], "same_experts": 0.99}],
}


@pytest.fixture
def artifact(tmp_path):
    """Return a version of the starter that states how its defaults were chosen."""
    shutil.copytree(REPOSITORY / "starter-openvino", tmp_path / "starter-openvino")
    path = tmp_path / "starter-openvino" / "1" / "manifest.json"
    manifest = json.loads(path.read_text())
    threshold = next(row for row in manifest["inputs"] if row["name"] == "weight_threshold")
    threshold["default"] = 0.3
    path.write_text(json.dumps({**manifest, "default_controls": STATED}))
    return path.parent


@pytest.mark.parametrize("of", ["1", ".."])
def test_inspecting_an_artifact_prints_what_was_measured(artifact, capsys, of):
    folder = artifact if of == "1" else artifact.parent
    assert main(["inspect", str(folder)]) == 0
    title, data, head, *rows = capsys.readouterr().out.splitlines()
    assert title == "starter-openvino version 1; fewest GFLOPs of all"
    assert data == "measured on 128 images: cells train"
    assert head.split()[:3] == ["top_k", "threshold", "map50_95"]
    assert [row.split() for row in rows] == [
        ["2", "0", "0.5000", "50%", "3.23", "6.0", "-"],
        ["*", "2", "0.3", "0.4995", "31%", "2.47", "5.4", "99.0%"],
    ]


def test_machines_get_the_same(artifact, capsys):
    assert main(["inspect", str(artifact), "--json"]) == 0
    found = json.loads(capsys.readouterr().out)
    assert found == {
        "name": "starter-openvino",
        "version": "1",
        "top_k": 2,
        "weight_threshold": 0.3,
        **STATED,
    }
    (row,) = json.loads(exports_json(artifact.parents[1]))
    assert row["default_controls"] == STATED


def test_the_list_of_exports_names_the_defaults(artifact):
    assert " 2 from 0.3 " in exports_table(artifact.parents[1]).splitlines()[1]


def test_an_artifact_from_before_the_choice_has_nothing_to_tell(artifact, capsys):
    path = artifact / "manifest.json"
    manifest = json.loads(path.read_text())
    path.write_text(json.dumps({**manifest, "default_controls": None}))
    assert main(["inspect", str(artifact)]) == 1
    assert "does not state how its defaults were chosen" in capsys.readouterr().err
