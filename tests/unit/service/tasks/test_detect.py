"""Detections are read from outputs by role, and compared with golden detections by class and position."""

import json
from dataclasses import replace

import numpy as np
import pytest

from service.artifact.golden import load_golden
from service.artifact.manifest import parse_manifest
from service.artifact.tensors import Tolerance
from service.errors import ArtifactBroken, ArtifactMismatch
from service.tasks.detect import Detections, DetectTask, candidates_in, compare_detections

BOXES = Tolerance(absolute=1e-3, relative=1e-5)
SCORES = Tolerance(absolute=1e-4, relative=0.0)


def detections(*rows):
    """Each row is x1, y1, x2, y2, score, class."""
    table = np.array(rows, dtype=np.float32).reshape(-1, 6)
    return Detections(table[:, :4], table[:, 4], table[:, 5].astype(np.int64))


def compare(got, want):
    compare_detections(got, want, conf=0.25, boxes=BOXES, scores=SCORES)


def renamed(tiny, changes):
    """Return the manifest with outputs called otherwise; their roles stay."""
    document = json.loads(json.dumps(tiny.manifest))
    for row in document["outputs"]:
        row["name"] = changes.get(row["name"], row["name"])
    return parse_manifest(json.dumps(document).encode(), "manifest.json")


def test_what_the_graph_selected_is_taken_as_it_is_whatever_it_is_called(tiny):
    manifest = renamed(tiny, {"boxes": "output0", "scores": "output1", "class_ids": "output2"})
    outputs = {
        "output0": np.array([[[0, 0, 1, 1], [2, 2, 3, 3]]], np.float32),
        "output1": np.array([[0.9, 0.5]], np.float32),
        "output2": np.array([[1, 0]], np.int32),
    }
    selected, _ = candidates_in(manifest, outputs)
    assert selected.class_ids.tolist() == [1, 0]
    assert selected.boxes_xyxy.shape == (2, 4)


def test_detections_may_swap_places():
    a, b = (0, 0, 10, 10, 0.9, 0), (50, 50, 60, 60, 0.9, 1)
    compare(detections(a, b), detections(b, a))


def test_no_detections_equal_no_detections():
    compare(detections(), detections())


@pytest.mark.parametrize(
    ("got", "sentence"),
    [
        pytest.param([], "golden detection 0 was not found", id="missing"),
        pytest.param([(0, 0, 100, 100, 0.9, 1)], "golden detection 0 was not found", id="other class"),
        pytest.param([(0, 0, 100, 100.1, 0.9, 0)], "box .detection 0. differs by 0.0999", id="moved"),
        pytest.param([(0, 0, 100, 100, 0.901, 0)], "score .detection 0. differs by 0.001", id="score"),
        pytest.param([(0, 0, 100, np.nan, 0.9, 0)], "golden detection 0 was not found", id="NaN box"),
        pytest.param([(0, 0, 100, 100, np.nan, 0)], "score .detection 0. differs by nan", id="NaN score"),
        pytest.param(
            [(0, 0, 100, 100, 0.9, 0), (200, 0, 210, 9, 0.5, 0)], "detection 1 is not in", id="one too many"
        ),
    ],
)
def test_wrong_detections_are_refused(got, sentence):
    with pytest.raises(ArtifactMismatch, match=sentence):
        compare(detections(*got), detections((0, 0, 100, 100, 0.9, 0)))


def test_a_box_may_differ_by_its_absolute_and_relative_tolerance_together():
    want = detections((0, 0, 100, 1000, 0.9, 0))  # 1e-3 + 1e-5 * 1000 = 0.011 px
    compare(detections((0, 0, 100, 1000.01, 0.9, 0)), want)
    with pytest.raises(ArtifactMismatch, match="box"):
        compare(detections((0, 0, 100, 1000.012, 0.9, 0)), want)


def test_a_score_at_the_threshold_may_come_or_go():
    at_threshold = detections((0, 0, 10, 10, 0.25005, 0))
    compare(detections(), at_threshold)
    compare(at_threshold, detections())


def test_a_sample_whose_arrays_do_not_fit_each_other_is_broken(artifact):
    golden = load_golden(artifact)
    torn = replace(golden, arrays=dict(golden.arrays) | {"det_scores": np.zeros(2, np.float32)})
    with pytest.raises(ArtifactBroken, match=r"golden\.npz: its detections cannot be read"):
        DetectTask(artifact.manifest).compare(detections(), torn)
