"""A model that does not reproduce its golden sample is refused, with what differs and by how much."""

import asyncio
import hashlib
from dataclasses import replace
from functools import partial

import numpy as np
import pytest

from service.artifact.golden import compare_detections, load_golden, verify_golden
from service.artifact.manifest import Tolerance
from service.artifact.repository import read_artifact
from service.backends.protocol import Call
from service.errors import ArtifactBroken, ArtifactMismatch
from service.pipeline.run import replay_golden
from service.types import Detections
from tests.builders import build_artifact, write_manifest

TOLERANCE = Tolerance(input_levels=1, boxes_px=1e-3, boxes_relative=1e-5, scores=1e-4, gates=1e-4)


def verify(artifact, replay):
    asyncio.run(verify_golden(artifact, replay))


def detections(*rows):
    """Each row is x1, y1, x2, y2, score, class."""
    table = np.array(rows, dtype=np.float32).reshape(-1, 6)
    return Detections(table[:, :4], table[:, 4], table[:, 5].astype(np.int64))


def test_the_service_reproduces_the_sample(artifact, backend):
    replay = partial(replay_golden, manifest=artifact.manifest, backend=backend, call=Call.within(20))
    verify(artifact, replay)


def test_what_must_be_found_is_found_by_hand(artifact):
    golden = load_golden(artifact)
    assert golden.expected.detections.boxes_xyxy.tolist() == [[4, 4, 36, 36]]
    assert golden.expected.detections.class_ids.tolist() == [0]


def replay_with(artifact, **changes):
    async def replay(image):
        return replace(load_golden(artifact).expected, **changes)

    return replay


def test_the_input_may_differ_by_one_level_and_not_by_two(artifact):
    image = load_golden(artifact).expected.input
    verify(artifact, replay_with(artifact, input=image + np.uint8(1)))
    with pytest.raises(ArtifactMismatch, match="input differs by 2; the limit is 1"):
        verify(artifact, replay_with(artifact, input=image + np.uint8(2)))


@pytest.mark.parametrize("name", ["gates", "router_probs"])
@pytest.mark.parametrize("wrong", [0.001, np.nan])
def test_a_routing_output_that_differs_is_named(artifact, name, wrong):
    outputs = dict(load_golden(artifact).expected.outputs)
    outputs[name] = outputs[name] + np.float32(wrong)
    with pytest.raises(ArtifactMismatch, match=f"{name} differs by"):
        verify(artifact, replay_with(artifact, outputs=outputs))


def test_a_shape_that_differs_is_named(artifact):
    with pytest.raises(ArtifactMismatch, match=r"input \(shape"):
        verify(artifact, replay_with(artifact, input=np.zeros((1, 32, 32, 3), np.uint8)))


def test_detections_may_swap_places():
    a, b = (0, 0, 10, 10, 0.9, 0), (50, 50, 60, 60, 0.9, 1)
    compare_detections(detections(a, b), detections(b, a), 0.25, TOLERANCE)


def test_no_detections_equal_no_detections():
    compare_detections(detections(), detections(), 0.25, TOLERANCE)


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
        compare_detections(detections(*got), detections((0, 0, 100, 100, 0.9, 0)), 0.25, TOLERANCE)


def test_a_box_may_differ_by_its_absolute_and_relative_tolerance_together():
    want = detections((0, 0, 100, 1000, 0.9, 0))  # 1e-3 + 1e-5 * 1000 = 0.011 px
    compare_detections(detections((0, 0, 100, 1000.01, 0.9, 0)), want, 0.25, TOLERANCE)
    with pytest.raises(ArtifactMismatch, match="box"):
        compare_detections(detections((0, 0, 100, 1000.012, 0.9, 0)), want, 0.25, TOLERANCE)


def test_a_score_at_the_threshold_may_come_or_go():
    at_threshold = detections((0, 0, 10, 10, 0.25005, 0))
    compare_detections(detections(), at_threshold, 0.25, TOLERANCE)
    compare_detections(at_threshold, detections(), 0.25, TOLERANCE)


def rewrite_golden(built, change):
    path = built.folder / "golden.npz"
    arrays = dict(np.load(path))
    change(arrays)
    np.savez(path, **arrays)
    files = built.manifest["files"] | {"golden.npz": hashlib.sha256(path.read_bytes()).hexdigest()}
    write_manifest(built.folder, built.manifest | {"files": files})
    return read_artifact(built.folder)


@pytest.mark.parametrize(
    ("change", "sentence"),
    [
        pytest.param(lambda arrays: arrays.pop("gates"), "no array 'gates'", id="an output is missing"),
        pytest.param(lambda arrays: arrays.update(image=np.zeros(3)), "not uint8", id="no picture"),
        pytest.param(
            lambda arrays: arrays.update(input=np.array([{"a": 1}], dtype=object)), "pickle", id="pickle"
        ),
    ],
)
def test_a_broken_sample_is_refused(tmp_path, change, sentence):
    artifact = rewrite_golden(build_artifact(tmp_path), change)
    with pytest.raises(ArtifactBroken, match=sentence):
        load_golden(artifact)
