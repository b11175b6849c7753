"""What is drawn is what training gets, and boxes stand where they are."""

import numpy as np

from tests.unit.training.data.small_data import GREY, MemoryDataset, sample
from training.config import AugmentConfig, ModelConfig, ScenesConfig, TrainConfig
from training.data.loader import TrainingLoader
from training.look.contact_sheet import GAP_PX, TILE_PX, contact_sheet, training_pictures

CONFIG = TrainConfig(
    model=ModelConfig(class_names=MemoryDataset.class_names, input_hw=(64, 96)),
    train_data=ScenesConfig(),
    augment=AugmentConfig(mixup=0.5, copy_paste=0.5),
    epochs=3,
    batch_size=4,
    loader_workers=1,
)
DATA = MemoryDataset([sample((48, 64), [[4, 4, 30, 40]] * (k % 3), [k % 4] * (k % 3)) for k in range(10)])


def test_samples_are_those_of_the_epoch_in_their_order():
    shown = training_pictures(DATA, CONFIG, 1, 6)
    assert len(shown) == 6
    with TrainingLoader(DATA, CONFIG) as loader:
        batches = list(loader.epoch(1))
    for place, each in enumerate(shown):
        batch = batches[place // 4]
        np.testing.assert_array_equal(each.image, batch.images[place % 4])
        np.testing.assert_array_equal(each.boxes_xyxy, batch.boxes_xyxy[batch.image_ids == place % 4])


def test_an_epoch_that_is_shorter_shows_all_it_has():
    assert len(training_pictures(DATA, CONFIG, 0, 100)) == 10
    assert len(training_pictures(MemoryDataset([sample((64, 64), [], [])]), CONFIG, 0, 100)) == 2
    assert len(training_pictures(DATA, CONFIG, 0, 3)) == 3


def test_boxes_are_drawn_on_their_own_pixels():
    made = sample((40, 80), [[10, 20, 30, 36]], [0])
    made.image[:] = GREY
    sheet = contact_sheet([made], ("red",))
    assert sheet.shape == (TILE_PX // 2 + 2 * GAP_PX, TILE_PX + 2 * GAP_PX, 3)
    tile = sheet[GAP_PX:-GAP_PX, GAP_PX:-GAP_PX]
    red = (tile == [255, 0, 0]).all(axis=2)
    left, top, right, bottom = 40, 80, 119, 143  # four times as large; the last row and column of the box
    assert red[top, left : right + 1].all()
    assert red[bottom, left : right + 1].all()
    assert red[top : bottom + 1, left].all()
    assert red[top : bottom + 1, right].all()
    assert (tile[: top - 4] == GREY).all()
    assert (made.image == GREY).all()


def test_samples_without_objects_and_incomplete_rows_leave_white():
    sheet = contact_sheet([sample((32, 32), [], [])] * 5, ())
    assert sheet.shape == (2 * (TILE_PX + GAP_PX) + GAP_PX, 4 * (TILE_PX + GAP_PX) + GAP_PX, 3)
    assert (sheet[GAP_PX + 1, GAP_PX + 1] == GREY).all()
    assert (sheet[-GAP_PX - 2, -GAP_PX - 2] == 255).all()
