"""The grid of cells over the image in the model input."""

import numpy as np
import pytest

from service.explain.grid import Grid, Region, box_in_image, mean_fill
from service.pipeline.center_crop import CenterCrop
from service.pipeline.letterbox import Letterbox
from service.pipeline.preprocess import Placed

CANVAS = (64, 64)


def placed(place, source_hw):
    return Placed(np.zeros((1, *CANVAS, 3), np.uint8), place.fit(source_hw, CANVAS), source_hw)


@pytest.mark.parametrize(
    ("source_hw", "region", "rows_cols"),
    [
        pytest.param((64, 64), Region(0, 0, 64, 64), (8, 8), id="square"),
        pytest.param((100, 200), Region(16, 0, 32, 64), (4, 8), id="wide: padded above and below"),
        pytest.param((200, 100), Region(0, 16, 64, 32), (8, 4), id="tall: padded at the sides"),
        pytest.param((1, 4000), Region(31, 0, 1, 64), (1, 8), id="one pixel high"),
    ],
)
def test_the_grid_covers_the_image_and_not_the_padding(source_hw, region, rows_cols):
    found = Region.of(placed(Letterbox, source_hw))
    grid = Grid.fit(found, 8)
    assert found == region
    assert (grid.rows, grid.cols) == rows_cols


def test_with_a_centre_crop_the_grid_covers_the_whole_input():
    assert Region.of(placed(CenterCrop, (100, 200))) == Region(0, 0, 64, 64)


def test_the_box_is_the_whole_image_with_a_letterbox_and_the_middle_with_a_centre_crop():
    assert box_in_image(placed(Letterbox, (100, 200))) == (0, 0, 200, 100)
    assert box_in_image(placed(CenterCrop, (100, 200))) == (50, 0, 100, 100)


def test_hiding_a_cell_changes_its_pixels_only():
    canvas = np.full((1, 8, 8, 3), 200, np.uint8)
    grid = Grid(Region(2, 0, 4, 8), 2, 4)  # cells of 2 x 2 pixels
    hidden = np.zeros((2, 4), bool)
    hidden[1, 3] = True
    shown = grid.hide(canvas, hidden, np.zeros_like(canvas))
    expected = canvas.copy()
    expected[0, 4:6, 6:8] = 0
    assert np.array_equal(shown, expected)
    assert (canvas == 200).all()


def test_the_mean_colour_leaves_out_the_padding():
    canvas = np.full((1, 4, 4, 3), 114, np.uint8)
    canvas[0, 1, :, 0], canvas[0, 2, :, 0] = 10, 20
    assert mean_fill(canvas, Region(1, 0, 2, 4))[0, 0, 0].tolist() == [15, 114, 114]


def test_more_cells_than_pixels_are_no_error():
    canvas = np.full((1, 4, 4, 3), 7, np.uint8)
    grid = Grid.fit(Region(0, 0, 4, 4), 8)
    shown = grid.hide(canvas, np.ones((8, 8), bool), np.zeros_like(canvas))
    assert (shown == 0).all()
