"""All copies of letterbox, centre crop, candidate selection and suppression give the same results."""

import importlib.util
from pathlib import Path

import numpy as np
import pytest
import torch

from clients.center_crop import center_crop
from service.pipeline.center_crop import CenterCrop as ServiceCenterCrop
from service.pipeline.letterbox import Letterbox as ServiceLetterbox
from service.pipeline.nms import suppress
from service.pipeline.postprocess import kept_in_source, select_candidates
from service.types import Candidates
from training.config import PAD_VALUE
from training.data.images.center_crop import CenterCrop, center_crop_image
from training.data.images.letterbox import Letterbox, letterbox_image
from training.evaluate import detections as evaluated
from training.evaluate.detections import DetectConfig
from training.evaluate.objects.boxes import BOXES
from training.ops import nms

SUPPRESSION = Path(__file__).parents[2] / "training" / "export" / "triton" / "nms" / "suppression.py"

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


CROPPED = [
    *SIZES,
    pytest.param((480, 641), (224, 224), id="an odd column is cut from the right"),
    pytest.param((641, 480), (224, 224), id="an odd row is cut from the bottom"),
    pytest.param((64, 3072), (64, 96), id="as long as 32 canvases: resized whole"),
    pytest.param((64, 3073), (64, 96), id="longer: cut before it is resized"),
    pytest.param((7, 3000), (64, 96), id="longer, and enlarged"),
    pytest.param((3000, 7), (64, 96), id="higher, and enlarged"),
]


@pytest.mark.parametrize(("source_hw", "input_hw"), CROPPED)
def test_all_centre_crops_give_the_same_canvas(source_hw, input_hw):
    image = np.random.default_rng(0).integers(0, 256, (*source_hw, 3), dtype=np.uint8)
    ours, theirs = CenterCrop.fit(source_hw, input_hw), ServiceCenterCrop.fit(source_hw, input_hw)
    assert (ours.scale, ours.left, ours.top) == (theirs.scale, theirs.left, theirs.top)
    canvas = center_crop_image(image, input_hw)
    assert np.array_equal(canvas, theirs.apply(image, input_hw)[0])
    assert np.array_equal(canvas, center_crop(image, input_hw)[0])


def test_a_whole_image_maps_onto_itself():
    placed = Letterbox.fit((480, 640), (640, 640))
    corners = np.array([[0, 80, 640, 560]], dtype=np.float32)
    assert placed.to_source(corners).tolist() == [[0, 0, 640, 480]]


@pytest.fixture(scope="module")
def triton():
    """Return the suppression code that runs inside Triton, which cannot import this project."""
    spec = importlib.util.spec_from_file_location("suppression", SUPPRESSION)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def crowded(seed: int, anchors: int, classes: int) -> tuple[np.ndarray, np.ndarray]:
    """Return strongly overlapping boxes (1, A, 4) and their scores (1, A, C)."""
    rng = np.random.default_rng(seed)
    centers, sizes = rng.uniform(0, 200, (anchors, 2)), rng.uniform(10, 60, (anchors, 2))
    boxes = np.concatenate([centers - sizes / 2, centers + sizes / 2], axis=1)
    return boxes[None].astype(np.float32), rng.random((1, anchors, classes), dtype=np.float32)


@pytest.mark.parametrize("seed", range(5))
@pytest.mark.parametrize(("anchors", "classes"), [(300, 3), (20, 2), (1, 1)])
def test_all_copies_keep_the_same_detections(triton, seed, anchors, classes):
    boxes, class_scores = crowded(seed, anchors, classes)
    picked = nms.select_candidates(torch.from_numpy(boxes), torch.from_numpy(class_scores), 100)
    config = DetectConfig(conf=0.2, iou=0.5, max_det=30, candidates=100)
    image_hw = (180, 190)
    placed = Letterbox.fit(image_hw, (200, 200))
    ours = BOXES.keep(evaluated.Candidates(*picked).of_image(0), placed, image_hw, config)

    canvas, _ = select_candidates(boxes[0], class_scores[0], 100)
    by_graph = Candidates(picked[0][0].numpy(), picked[1][0].numpy(), picked[2][0].numpy())
    for candidates in (canvas, by_graph):
        theirs = kept_in_source(
            candidates,
            ServiceLetterbox.fit(image_hw, (200, 200)),
            image_hw,
            conf=config.conf,
            iou=config.iou,
            max_det=config.max_det,
        )
        assert np.array_equal(ours.scores, candidates.scores[theirs.rows])
        assert np.array_equal(ours.class_ids, candidates.class_ids[theirs.rows])
        assert np.allclose(ours.boxes_xyxy, theirs.boxes_xyxy, atol=1e-4)

    kept = suppress(canvas, config.conf, config.iou, config.max_det)
    picked_by_triton = triton.select_candidates(boxes[0], class_scores[0], 100)
    kept_by_triton = triton.suppress(*picked_by_triton, config.conf, config.iou, config.max_det)
    for ours_on_canvas, in_triton in zip(
        (canvas.boxes_xyxy, canvas.scores, canvas.class_ids), picked_by_triton, strict=True
    ):
        assert np.array_equal(ours_on_canvas, in_triton)
    assert np.array_equal(kept, kept_by_triton)


# Boxes on a canvas with scores and classes, and what stays at conf 0.5, iou 0.5, at most 3.
BORDERS = [
    pytest.param([], [], [], [], id="nothing found"),
    pytest.param([(0, 0, 2, 2)], [0.5], [0], [0], id="a score of conf counts"),
    pytest.param([(0, 0, 2, 2)], [0.49], [0], [], id="one below does not"),
    pytest.param([(0, 0, 2, 2), (0, 0, 4, 2)], [0.9, 0.8], [0, 0], [0, 1], id="overlap of iou stays"),
    pytest.param([(0, 0, 3, 2), (0, 0, 4, 2)], [0.9, 0.8], [0, 0], [0], id="more than iou goes"),
    pytest.param([(0, 0, 3, 2), (0, 0, 4, 2)], [0.9, 0.8], [0, 1], [0, 1], id="another class stays"),
    pytest.param([(0, 0, 2, 2), (0, 0, 2, 2)], [0.7, 0.7], [0, 0], [0], id="ties: the first stays"),
    pytest.param([(1, 1, 1, 1), (1, 1, 1, 1)], [0.9, 0.8], [0, 0], [0, 1], id="no area overlaps nothing"),
    pytest.param(
        [(9 * i, 0, 9 * i + 8, 8) for i in range(5)],
        [0.5, 0.9, 0.6, 0.8, 0.7],
        [0] * 5,
        [1, 3, 4],
        id="the best three, best first",
    ),
]


@pytest.mark.parametrize(("boxes", "scores", "class_ids", "expected"), BORDERS)
def test_all_agree_on_borders(triton, boxes, scores, class_ids, expected):
    found = (
        np.array(boxes, dtype=np.float32).reshape(-1, 4),
        np.array(scores, dtype=np.float32),
        np.array(class_ids, dtype=np.int64),
    )
    assert suppress(Candidates(*found), 0.5, 0.5, 3).tolist() == expected
    assert triton.suppress(*found, 0.5, 0.5, 3).tolist() == expected
    likely = found[1] >= 0.5
    torch_found = [torch.from_numpy(values[likely]) for values in found]
    rows = np.flatnonzero(likely)[nms.class_aware_nms(*torch_found, 0.5, 3).numpy()]
    assert rows.tolist() == expected


def test_a_cut_through_equal_scores_keeps_the_lowest_pairs(triton):
    boxes = np.zeros((1, 6, 4), dtype=np.float32)
    class_scores = np.full((1, 6, 2), 0.25, dtype=np.float32)
    class_scores[0, 4, 1] = 0.75
    canvas, _ = select_candidates(boxes[0], class_scores[0], 3)
    _, scores, class_ids = triton.select_candidates(boxes[0], class_scores[0], 3)
    assert scores.tolist() == canvas.scores.tolist() == [0.75, 0.25, 0.25]
    assert class_ids.tolist() == canvas.class_ids.tolist() == [1, 0, 1]
