"""Positions of anchors, and conversion of side distances to boxes."""

import pytest
import torch

from training.ops.anchors import anchor_points, decode_boxes


def test_cell_centres_run_along_rows_and_the_finest_level_comes_first():
    points, strides = anchor_points((16, 24), (8, 16))
    assert points.tolist() == [
        [4, 4], [12, 4], [20, 4],
        [4, 12], [12, 12], [20, 12],
        [8, 8],
    ]  # fmt: skip
    assert strides.tolist() == [[8]] * 6 + [[16]]


def test_a_canvas_of_64_has_84_anchors():
    points, strides = anchor_points((64, 64), (8, 16, 32))
    assert points.shape == (64 + 16 + 4, 2)
    assert strides.shape == (84, 1)
    assert points[-1].tolist() == [48, 48]


def certain_of(*distances, bins=16):
    """Logits (1, 1, 4, R) that put all belief on whole distances."""
    logits = torch.full((1, 1, 4, bins), -100.0)
    for side, distance in enumerate(distances):
        logits[0, 0, side, distance] = 100.0
    return logits


def test_certain_distances_are_counted_in_strides_from_the_point():
    box = decode_boxes(certain_of(1, 2, 3, 0), torch.tensor([[100.0, 50.0]]), torch.tensor([[8.0]]))
    assert box.tolist() == [[[100 - 8, 50 - 16, 100 + 24, 50 + 0]]]


def test_even_belief_gives_the_middle_of_the_range():
    box = decode_boxes(torch.zeros(1, 1, 4, 16), torch.tensor([[100.0, 50.0]]), torch.tensor([[2.0]]))
    assert box[0, 0].tolist() == pytest.approx([85, 35, 115, 65])  # mean of 0..15 is 7.5 strides of 2


def test_every_image_and_anchor_is_decoded_with_its_own_point_and_stride():
    points, strides = anchor_points((32, 32), (16, 32))
    boxes = decode_boxes(certain_of(1, 1, 1, 1).expand(3, 5, 4, 16), points, strides)
    assert boxes.shape == (3, 5, 4)
    assert boxes[2].tolist() == [
        [-8, -8, 24, 24], [8, -8, 40, 24], [-8, 8, 24, 40], [8, 8, 40, 40],
        [-16, -16, 48, 48],
    ]  # fmt: skip


def test_half_precision_logits_are_decoded_in_full():
    boxes = decode_boxes(certain_of(15, 1, 1, 1).half(), torch.tensor([[639.5, 0.0]]), torch.tensor([[32.0]]))
    assert boxes.dtype == torch.float32
    assert boxes[0, 0, 0].item() == 639.5 - 15 * 32
