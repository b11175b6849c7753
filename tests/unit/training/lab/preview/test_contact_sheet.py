"""The preview draws the samples of training, with boxes in the right places."""

from dataclasses import replace

import numpy as np

from tests.unit.training.data.small_data import GREY, MemoryDataset, extent, sample, with_regions
from training.config import PAD_VALUE, AugmentConfig, ModelConfig, TrainConfig
from training.data.loading.loader import TrainingLoader
from training.data_config import ScenesConfig
from training.lab.preview import GAP_PX, LEGEND_PX, TILE_PX, contact_sheet, training_samples
from training.tasks.detect import DETECT

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
    shown = training_samples(DATA, CONFIG, 1, 6)
    assert len(shown) == 6
    with TrainingLoader(DATA, CONFIG, DETECT) as loader:
        batches = list(loader.epoch(1))
    for place, each in enumerate(shown):
        batch = batches[place // 4]
        np.testing.assert_array_equal(each.image, batch.images[place % 4])
        np.testing.assert_array_equal(each.boxes_xyxy, batch.boxes_xyxy[batch.image_ids == place % 4])


def test_a_balanced_run_shows_its_rare_classes_as_often_here():
    config = replace(CONFIG, repeat_threshold=1.0, batch_size=2)
    data = MemoryDataset([sample((64, 96), [[4, 4, 30, 40]], [int(index == 0)]) for index in range(10)])
    shown = training_samples(data, config, 0, 100)
    with TrainingLoader(data, config, DETECT) as loader:
        images = [image for batch in loader.epoch(0) for image in batch.images]
    assert len(shown) == len(images) > 10
    for each, image in zip(shown, images, strict=True):
        np.testing.assert_array_equal(each.image, image)


def test_ignored_regions_are_those_of_the_sample():
    data = MemoryDataset(
        [with_regions(sample((64, 96), [], []), [[8 * k, 8, 8 * k + 16, 24]] * (k % 3)) for k in range(8)]
    )
    plain = replace(CONFIG, epochs=1)  # the last ones stand alone
    shown = training_samples(data, plain, 0, 8)
    with TrainingLoader(data, plain, DETECT) as loader:
        batches = list(loader.epoch(0))
    for place, each in enumerate(shown):
        batch = batches[place // 4]
        mine = batch.ignored_image_ids == place % 4
        np.testing.assert_array_equal(each.ignored_xyxy, batch.ignored_xyxy[mine])
    assert sum(len(each.ignored_xyxy) for each in shown) > 3


def test_an_epoch_that_is_shorter_shows_all_it_has():
    assert len(training_samples(DATA, CONFIG, 0, 100)) == 10
    assert len(training_samples(MemoryDataset([sample((64, 64), [], [])]), CONFIG, 0, 100)) == 2
    assert len(training_samples(DATA, CONFIG, 0, 3)) == 3


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


def test_ignored_regions_are_hatched_and_a_legend_says_so():
    made = with_regions(sample((40, 80), [], []), [[10, 20, 30, 36]])
    made.image[:] = GREY
    sheet = contact_sheet([made], ())
    assert sheet.shape == (TILE_PX // 2 + 2 * GAP_PX + LEGEND_PX, TILE_PX + 2 * GAP_PX, 3)
    tile, legend = sheet[GAP_PX : GAP_PX + TILE_PX // 2, GAP_PX:-GAP_PX], sheet[-LEGEND_PX:]
    changed = (tile != GREY).any(axis=2)
    assert extent(changed) == [40, 80, 120, 144]  # four times as large
    within = tile[81:143, 41:119, 0]
    for value in (0, 255):  # one line in eight, and the same again on its shadow
        assert 0.1 < (within == value).mean() < 0.15
    assert (within == GREY).mean() > 0.7
    assert {0, PAD_VALUE, 255} <= set(legend[:, : 3 * LEGEND_PX].ravel().tolist())


def test_a_region_at_the_very_edge_stays_on_its_image():
    made = with_regions(sample((40, 80), [], []), [[0, 0, 80, 40]])
    sheet = contact_sheet([made, made], ())
    assert (sheet[:, :GAP_PX][:-LEGEND_PX] == 255).all()
    assert (sheet[:GAP_PX] == 255).all()


def test_samples_without_objects_and_incomplete_rows_leave_white():
    sheet = contact_sheet([sample((32, 32), [], [])] * 5, ())
    assert sheet.shape == (2 * (TILE_PX + GAP_PX) + GAP_PX, 4 * (TILE_PX + GAP_PX) + GAP_PX, 3)
    assert (sheet[GAP_PX + 1, GAP_PX + 1] == GREY).all()
    assert (sheet[-GAP_PX - 2, -GAP_PX - 2] == 255).all()
