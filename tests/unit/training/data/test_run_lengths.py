"""Run lengths of masks are those of the COCO API, to the byte."""

import numpy as np
import pytest
from pycocotools import mask as coco_mask

from training.data.masks import Mask, RunLengths

HW = (9, 12)


@pytest.mark.parametrize("density", [0.0, 0.3, 0.7, 1.0])
@pytest.mark.parametrize("window_hw", [(9, 12), (4, 5), (1, 1), (20, 3), (3, 30)])
def test_a_window_anywhere_gives_the_runs_of_the_whole_mask(window_hw, density):
    rng = np.random.default_rng(0)
    for top, left in ((0, 0), (5, 7), (8, 11), (-2, 9), (6, -3), (-30, 2), (3, 40), (-5, -8)):
        mask = Mask(left, top, rng.random(window_hw) < density)
        whole = mask.on(HW)
        runs = RunLengths.of(mask, HW)
        assert runs.counts == coco_mask.encode(np.asfortranarray(whole, dtype=np.uint8))["counts"]
        np.testing.assert_array_equal(runs.bitmap(), whole)


def test_a_mask_without_a_window_is_empty():
    runs = RunLengths.of(Mask(0, 0, np.zeros((0, 0), bool)), HW)
    assert not runs.bitmap().any()
