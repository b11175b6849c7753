"""Masks, keypoints and rotated boxes of the service's answers, and the errors of calls for another task."""

import json
import sys

import numpy as np
import pytest
from faster_coco_eval.core import mask as coco

from clients import RestClient
from clients.command import main
from clients.errors import NotInstalled, WrongTask
from clients.facts import Facts
from clients.tasks.classify import ClassifyParams
from clients.tasks.detect import DetectParams
from clients.tasks.obb import OrientedParams
from clients.tasks.pose import PoseParams
from clients.tasks.segment import SegmentParams
from tests.unit.clients.answering import ANSWER, CLASSES, answering

BOX = ANSWER["predictions"][0]
MASK = np.zeros((48, 64), dtype=np.uint8)
MASK[6:11, 2:30] = 1
MASK[8, 5:9] = 0
RLE = {"size": [48, 64], "counts": coco.encode(np.asfortranarray(MASK))["counts"].decode()}
RINGS = {"polygon": [[[2, 6], [30, 6], [30, 11], [2, 11]], [[5, 8], [9, 8], [9, 9], [5, 9]]]}
POINTS = [
    {"name": "nose", "x": 3.25, "y": -1.5, "confidence": 0.75},
    {"name": "tail", "x": 30.5, "y": 8, "confidence": 0.25},
]
CORNERS = [[18.5, -7.5], [18.5, 24.5], [13.5, 24.5], [13.5, -7.5]]  # BOX, turned by 90 degrees


def answer(**more):
    return ANSWER | {"predictions": [BOX | more]}


ANSWERS = {
    "detect": (DetectParams(), answer()),
    "segment": (SegmentParams(), answer(mask=RLE)),
    "pose": (PoseParams(), answer(keypoints=POINTS)),
    "obb": (OrientedParams(), answer(rotation=90, corners=CORNERS)),
    "classify": (ClassifyParams(), CLASSES),
}


@pytest.mark.parametrize("mask", [RLE, RINGS])
def test_masks_are_those_that_the_service_sent(mask):
    found = SegmentParams().read(Facts(answer(mask=mask)))
    np.testing.assert_array_equal(found.masks(), MASK[None].astype(bool))
    assert found.predictions() == [BOX | {"mask": mask}]


def test_without_masks_there_are_boxes():
    params = SegmentParams(masks="off")
    found = params.read(Facts(answer()))
    assert params.query() == {"masks": "off"}
    assert found.predictions() == [BOX]
    with pytest.raises(ValueError, match="there are no masks"):
        found.masks()


def test_a_mask_of_another_size_is_refused():
    with pytest.raises(ValueError, match="size"):
        SegmentParams().read(Facts(answer(mask=RLE | {"size": [64, 48]})))


def test_keypoints_are_those_that_the_service_sent():
    found = PoseParams().read(Facts(ANSWERS["pose"][1]))
    assert found.keypoints.tolist() == [[[3.25, -1.5], [30.5, 8]]]
    assert found.keypoint_scores.tolist() == [[0.75, 0.25]]
    assert found.keypoint_names == ("nose", "tail")
    assert found.predictions() == [BOX | {"keypoints": POINTS}]
    assert found.layout().rows[0][-1] == "1 of 2"


def test_the_skeleton_is_the_one_that_the_service_sent():
    lines = ANSWERS["pose"][1] | {"skeleton": [[0, 1], [1, 0]]}
    found = PoseParams().read(Facts(lines))
    assert found.skeleton == ((0, 1), (1, 0))
    assert found.to_dict()["skeleton"] == [[0, 1], [1, 0]]
    assert PoseParams().read(Facts(lines | {"predictions": []})).skeleton == ((0, 1), (1, 0))
    assert PoseParams().read(Facts(ANSWERS["pose"][1])).skeleton == (), "an older service sends none"


@pytest.mark.parametrize("lines", [None, [[0]], [[0, 1.0]], [[0, 2]], [[-1, 0]], ["01"]])
def test_a_skeleton_that_joins_no_two_keypoints_is_refused(lines):
    with pytest.raises(ValueError, match="skeleton"):
        PoseParams().read(Facts(ANSWERS["pose"][1] | {"skeleton": lines}))


def test_rotated_boxes_are_those_that_the_service_sent():
    found = OrientedParams().read(Facts(ANSWERS["obb"][1]))
    assert found.corners.tolist() == [CORNERS]
    assert found.rotations.tolist() == [90]
    assert found.predictions() == [BOX | {"rotation": 90, "corners": CORNERS}]
    assert found.layout().rows == [("red", 0.9, 16, 8.5, 32, 5, 90)]


@pytest.mark.parametrize("task", ["segment", "pose", "obb"])
def test_nothing_found_is_an_empty_result(task):
    found = ANSWERS[task][0].read(Facts(ANSWER | {"predictions": []}))
    assert len(found) == 0
    assert found.predictions() == []


@pytest.mark.parametrize("asked", ANSWERS)
@pytest.mark.parametrize("given", ANSWERS)
def test_a_call_for_another_task_names_the_right_method(asked, given):
    if asked == given:
        assert ANSWERS[asked][0].read(Facts(ANSWERS[given][1])).predictions()
        return
    method = "detect_oriented" if given == "obb" else given
    with pytest.raises(WrongTask, match=rf"call {method}\(\) instead"):
        ANSWERS[asked][0].read(Facts(ANSWERS[given][1]))


def test_a_call_sends_how_to_write_masks():
    body = json.dumps(answer(mask=RINGS)).encode()
    with answering(body=body) as (address, seen), RestClient(f"http://{address}") as client:
        assert client.segment(b"image", masks="polygon").masks().sum() == MASK.sum()
    assert "masks=polygon" in str(seen[0])


@pytest.mark.parametrize(
    ("task", "heading"), [("segment", "left"), ("pose", "keypoints"), ("obb", "degrees")]
)
def test_the_command_prints_a_table(task, heading, tmp_path, capsys):
    (tmp_path / "a.jpg").write_bytes(b"image")
    with answering(body=json.dumps(ANSWERS[task][1]).encode()) as (address, _):
        assert main([task, str(tmp_path / "a.jpg"), "--url", f"http://{address}"]) == 0
    assert heading in capsys.readouterr().out


def test_without_supervision_the_error_says_what_to_install(monkeypatch):
    monkeypatch.setitem(sys.modules, "supervision", None)
    with pytest.raises(NotInstalled, match="pip install supervision"):
        DetectParams().read(Facts(answer())).to_supervision()
