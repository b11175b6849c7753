"""Masks in windows, and the keypoints that belong together."""

import numpy as np
import pytest

from training.data.masks import Mask
from training.errors import DatasetError
from training.skeleton import Skeleton


def test_a_mask_comes_back_from_its_window() -> None:
    whole = np.random.default_rng(0).random((13, 17)) > 0.9
    mask = Mask.of(whole)
    np.testing.assert_array_equal(mask.on((13, 17)), whole)
    rows, columns = np.nonzero(whole)
    assert (mask.left, mask.top) == (columns.min(), rows.min())
    assert mask.bitmap.shape == (np.ptp(rows) + 1, np.ptp(columns) + 1)


def test_an_empty_mask_stays_empty() -> None:
    assert not Mask.of(np.zeros((4, 5), dtype=bool)).on((4, 5)).any()


@pytest.mark.parametrize(("left", "top"), [(-2, -1), (3, 2), (-9, 0), (0, 40)])
def test_pixels_beyond_the_image_are_cut_off(left: int, top: int) -> None:
    bitmap = np.ones((4, 3), dtype=bool)
    large = np.zeros((200, 200), dtype=bool)
    large[100 + top : 104 + top, 100 + left : 103 + left] = True
    np.testing.assert_array_equal(Mask(left, top, bitmap).on((5, 5)), large[100:105, 100:105])


@pytest.mark.parametrize(
    ("changed", "message"),
    [
        ({"names": (), "flip_ids": ()}, "needs some"),
        ({"names": ("nose", "left", "left")}, "each named once"),
        ({"flip_ids": (0, 1)}, "must name each of 3 keypoints once"),
        ({"flip_ids": (1, 2, 0)}, "must pair keypoints"),
        ({"edges": ((0, 3),)}, "from 0 to 2"),
        ({"edges": ((-1, 0),)}, "from 0 to 2"),
        ({"sigmas": (0.1, 0.1)}, "3 positive numbers"),
        ({"sigmas": (0.1, 0.1, 0.0)}, "3 positive numbers"),
    ],
)
def test_a_skeleton_that_cannot_be_is_refused(changed: dict[str, object], message: str) -> None:
    right = {"names": ("nose", "left", "right"), "flip_ids": (0, 2, 1)}
    Skeleton(**right)  # type: ignore[arg-type]
    with pytest.raises(DatasetError, match=message):
        Skeleton(**{**right, **changed})  # type: ignore[arg-type]
