"""Candidates in the model input become detections in pixels of the image."""

import numpy as np
import torch

from training.data.images.letterbox import Letterbox
from training.evaluate.detections import Candidates, DetectConfig
from training.evaluate.objects.boxes import BOXES

PLACED = Letterbox(scale=0.5, left=0, top=16)  # an image of 64 by 128 on a canvas of 64 by 64


def keep(rows, **config):
    """Each row is a canvas box, a score and a class."""
    candidates = (
        torch.tensor([row[0] for row in rows], dtype=torch.float32).reshape(-1, 4),
        torch.tensor([row[1] for row in rows], dtype=torch.float32),
        torch.tensor([row[2] for row in rows], dtype=torch.int64),
    )
    return BOXES.keep(Candidates(*candidates), PLACED, (64, 128), DetectConfig(**config))


def test_boxes_come_back_in_source_pixels_best_first():
    got = keep([((0, 16, 10, 26), 0.5, 1), ((20, 26, 30, 36), 0.75, 0)])
    assert got.boxes_xyxy.tolist() == [[40, 20, 60, 40], [0, 0, 20, 20]]
    assert got.scores.tolist() == [0.75, 0.5]
    assert got.class_ids.tolist() == [0, 1]


def test_what_reaches_over_the_picture_is_clipped_to_it():
    assert keep([((-5, 0, 100, 60), 0.5, 0)]).boxes_xyxy.tolist() == [[0, 0, 128, 64]]


def test_a_score_at_the_threshold_counts_and_one_below_does_not():
    got = keep([((0, 16, 10, 26), 0.25, 0), ((20, 26, 30, 36), 0.2499, 0)], conf=0.25)
    assert got.scores.tolist() == [0.25]


def test_nothing_gives_empty_arrays_of_the_right_kind():
    got = keep([])
    assert (got.boxes_xyxy.shape, got.scores.shape, got.class_ids.shape) == ((0, 4), (0,), (0,))
    assert (got.boxes_xyxy.dtype, got.class_ids.dtype) == (np.float32, np.int64)
