from dataclasses import replace

import numpy as np
import pytest
import torch

from tests.unit.training.data.small_data import sample
from training.data.loading.collate import (
    collate_boxes,
    collate_corners,
    collate_keypoints,
    collate_masks,
    mask_cells,
)
from training.data.masks import Mask

TWO = sample((32, 48), [[2, 3, 10, 12], [20, 4, 40, 28]], [0, 2])
NONE = sample((32, 48), [], [])


def test_a_cell_is_on_if_at_least_half_of_its_pixels_are():
    bitmap = np.zeros((8, 8), bool)
    bitmap[:4, :2] = True  # 8 of 16 pixels of the first cell
    bitmap[4:6, :4] = bitmap[6, 4] = True  # 8 pixels of one cell, and 1 of the next
    bitmap[0:3, 4:6] = bitmap[3, 4] = True  # 7 pixels
    assert mask_cells(Mask(8, 4, bitmap), (16, 24)).tolist() == [
        [False, False, False, False, False, False],
        [False, False, True, False, False, False],
        [False, False, True, False, False, False],
        [False, False, False, False, False, False],
    ]


def test_cells_of_masks_equal_a_count_over_the_whole_image():
    rng = np.random.default_rng(3)
    for _ in range(50):
        left, top = rng.integers(-12, 44, size=2)
        mask = Mask(int(left), int(top), rng.random(rng.integers(0, 30, size=2)) < 0.5)
        whole = mask.on((32, 48))
        expected = [
            [whole[4 * y : 4 * y + 4, 4 * x : 4 * x + 4].sum() >= 8 for x in range(12)] for y in range(8)
        ]
        np.testing.assert_array_equal(mask_cells(mask, (32, 48)), expected)


def test_labels_of_all_images_follow_one_another():
    points = np.arange(18, dtype=np.float32).reshape(2, 3, 3)
    corners = np.arange(16, dtype=np.float32).reshape(2, 4, 2)
    masks = (Mask(0, 0, np.ones((4, 4), bool)), Mask(8, 4, np.ones((4, 8), bool)))
    full = replace(TWO, keypoints=points, corners=corners, masks=masks)
    empty = replace(NONE, keypoints=points[:0], corners=corners[:0], masks=())
    both = [full, empty, full]
    boxes = collate_boxes(both)
    assert boxes.image_ids.tolist() == [0, 0, 2, 2]
    np.testing.assert_array_equal(boxes.boxes_xyxy, np.concatenate([TWO.boxes_xyxy, TWO.boxes_xyxy]))
    batch = collate_masks(both).to("cpu")
    assert batch.masks.dtype == torch.bool
    assert batch.masks.shape == (4, 8, 12)
    assert batch.masks.sum(dim=(1, 2)).tolist() == [1, 2, 1, 2]
    assert batch.masks[1, 1, 2:4].all()
    assert batch.class_ids.tolist() == [0, 2, 0, 2]
    np.testing.assert_array_equal(collate_keypoints(both).keypoints, np.concatenate([points, points]))
    np.testing.assert_array_equal(collate_corners(both).corners, np.concatenate([corners, corners]))
    assert collate_masks([empty]).masks.shape == (0, 8, 12)


@pytest.mark.parametrize("collate", [collate_masks, collate_keypoints, collate_corners])
def test_a_sample_without_the_labels_is_refused(collate):
    with pytest.raises(ValueError, match="made: no"):
        collate([TWO])
