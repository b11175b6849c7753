"""Letterbox, selection and suppression exist in training and in the service: one table holds them equal."""

import numpy as np
import pytest
import torch

from service.pipeline.letterbox import Letterbox as ServiceLetterbox
from service.pipeline.postprocess import detections_in_source, select_candidates
from service.types import Candidates
from training.config import PAD_VALUE
from training.data.letterbox import Letterbox, letterbox_image
from training.evaluate.detections import DetectConfig, keep_detections
from training.ops import nms

SIZES = [
    pytest.param((480, 640), (384, 512), id="shrinks exactly"),
    pytest.param((640, 640), (640, 640), id="fits as it is"),
    pytest.param((33, 47), (64, 96), id="grows"),
    pytest.param((1080, 1919), (640, 640), id="odd width"),
    pytest.param((1, 4000), (64, 64), id="a line: neither side vanishes"),
    pytest.param((4000, 1), (64, 64), id="an upright line"),
    pytest.param((3, 2), (64, 64), id="a few pixels"),
    pytest.param((333, 500), (384, 512), id="odd padding"),
]


@pytest.mark.parametrize(("source_hw", "input_hw"), SIZES)
def test_both_letterboxes_give_the_same_canvas_and_the_same_way_back(source_hw, input_hw):
    image = np.random.default_rng(0).integers(0, 256, (*source_hw, 3), dtype=np.uint8)
    canvas, ours = letterbox_image(image, input_hw)
    theirs = ServiceLetterbox.fit(source_hw, input_hw)
    assert (ours.scale, ours.left, ours.top) == (theirs.scale, theirs.left, theirs.top)
    assert np.array_equal(canvas, theirs.apply(image, input_hw, PAD_VALUE)[0])
    boxes = np.array([[0, 0, 10, 10], [1.5, 2.5, 63.25, 60]], dtype=np.float32)
    assert np.array_equal(ours.to_source(boxes), theirs.to_source(boxes))


def test_a_whole_picture_maps_onto_itself():
    placed = Letterbox.fit((480, 640), (640, 640))
    corners = np.array([[0, 80, 640, 560]], dtype=np.float32)
    assert placed.to_source(corners).tolist() == [[0, 0, 640, 480]]


def crowded(seed: int, anchors: int, classes: int) -> tuple[np.ndarray, np.ndarray]:
    """Boxes that overlap a lot, (1, A, 4), and their scores for every class, (1, A, C)."""
    rng = np.random.default_rng(seed)
    centers, sizes = rng.uniform(0, 200, (anchors, 2)), rng.uniform(10, 60, (anchors, 2))
    boxes = np.concatenate([centers - sizes / 2, centers + sizes / 2], axis=1)
    return boxes[None].astype(np.float32), rng.random((1, anchors, classes), dtype=np.float32)


class ServiceSelects:
    selection = "service"
    candidates = 100


class GraphSelects:
    selection = "graph"
    candidates = 100


@pytest.mark.parametrize("seed", range(5))
@pytest.mark.parametrize(("anchors", "classes"), [(300, 3), (20, 2), (1, 1)])
def test_both_keep_the_same_detections_whoever_selects(seed, anchors, classes):
    boxes, class_scores = crowded(seed, anchors, classes)
    picked = nms.select_candidates(torch.from_numpy(boxes), torch.from_numpy(class_scores), 100)
    config = DetectConfig(conf=0.2, iou=0.5, max_det=30, candidates=100)
    image_hw = (180, 190)
    placed = Letterbox.fit(image_hw, (200, 200))
    ours = keep_detections((picked[0][0], picked[1][0], picked[2][0]), placed, image_hw, config)

    raw = {"boxes": boxes, "class_scores": class_scores}
    chosen = {"boxes": picked[0].numpy(), "scores": picked[1].numpy(), "class_ids": picked[2].numpy()}
    for outputs, spec in ((raw, ServiceSelects), (chosen, GraphSelects)):
        candidates = select_candidates(outputs, spec)
        assert isinstance(candidates, Candidates)
        theirs = detections_in_source(
            candidates,
            ServiceLetterbox.fit(image_hw, (200, 200)),
            image_hw,
            conf=config.conf,
            iou=config.iou,
            max_det=config.max_det,
        )
        assert np.array_equal(ours.scores, theirs.scores)
        assert np.array_equal(ours.class_ids, theirs.class_ids)
        assert np.allclose(ours.boxes_xyxy, theirs.boxes_xyxy, atol=1e-4)
