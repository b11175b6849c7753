from dataclasses import replace

import numpy as np
import pytest

from tests.unit.training.data.small_data import GREY, MemoryDataset, extent, sample, with_regions
from training.config import PAD_VALUE, AugmentConfig
from training.data.augmentation.augment import augment, flip, mix, shift_colours, warp
from training.data.augmentation.mosaic import MIN_SIDE_PX, Placed
from training.recipes.recipes import PAPER_AUGMENT

NOTHING = AugmentConfig(
    mosaic=0, hsv_hue=0, hsv_saturation=0, hsv_value=0, translate=0, scale=0, flip_horizontal=0
)
GEOMETRY = AugmentConfig(hsv_hue=0, hsv_saturation=0, hsv_value=0, flip_horizontal=0.5, flip_vertical=0.5)


def placed(boxes, visible=None):
    made = sample((100, 100), boxes, [0] * len(boxes))
    shown = np.ones(len(boxes), dtype=np.float32) if visible is None else np.array(visible, dtype=np.float32)
    return Placed(made.image, made.boxes_xyxy, made.class_ids, shown)


def shift(x, y, scale=1.0):
    return np.array([[scale, 0, x], [0, scale, y]], dtype=np.float64)


def test_with_everything_off_a_sample_is_only_letterboxed():
    made = sample((32, 64), [[4, 8, 12, 16]], [1])
    result = augment(MemoryDataset([made]), 0, np.random.default_rng(0), NOTHING, (64, 64), mosaic=True)
    np.testing.assert_array_equal(result.image[16:48], made.image)
    assert (result.image[:16] == PAD_VALUE).all()
    np.testing.assert_array_equal(result.boxes_xyxy, [[4, 24, 12, 32]])
    assert result.class_ids.tolist() == [1]


@pytest.mark.parametrize("mosaic", [True, False])
@pytest.mark.parametrize("degrees", [0.0, 8.0])
def test_boxes_follow_their_pixels(mosaic, degrees):
    config = AugmentConfig(**{**vars(GEOMETRY), "degrees": degrees})
    # Only image 0 has an object, so the red pixels of a mosaic are all its own.
    dataset = MemoryDataset([sample((90, 120), [[30, 20, 75, 60]], [0]), *[sample((80, 60), [], [])] * 30])
    checked = 0
    for seed in range(100):
        result = augment(dataset, 0, np.random.default_rng(seed), config, (128, 160), mosaic)
        red = result.image[..., 0] > (250 + GREY) / 2
        if len(result.boxes_xyxy) == 1:
            x1, y1, x2, y2 = result.boxes_xyxy[0]
            # A turned rectangle that the canvas cuts is narrower than the box around its corners.
            if degrees and (min(x1, y1) <= 0 or x2 >= 160 or y2 >= 128):
                continue
            assert extent(red) == pytest.approx([x1, y1, x2, y2], abs=1.6)
            checked += 1
    assert checked >= 10


@pytest.mark.parametrize("mosaic", [True, False])
def test_ignored_regions_follow_their_pixels(mosaic):
    region = with_regions(sample((90, 120), [], []), [[30, 20, 75, 60]])
    dataset = MemoryDataset([region, *[sample((80, 60), [], [])] * 30])
    checked = 0
    for seed in range(40):
        result = augment(dataset, 0, np.random.default_rng(seed), GEOMETRY, (128, 160), mosaic)
        yellow = result.image[..., 0] > (250 + GREY) / 2
        boxes = result.ignored_xyxy
        # A sliver may show no pixel that is more than half yellow; a mosaic may draw the region twice.
        if len(boxes) == 1 and (boxes[0, 2:] - boxes[0, :2]).min() > 2:
            assert extent(yellow) == pytest.approx(boxes[0].tolist(), abs=1.6)
            checked += 1
        elif len(boxes) == 0:
            assert not yellow.any()
        assert len(result.class_ids) == 0
    assert checked >= 10


def test_every_region_of_a_mosaic_is_kept_with_its_quarter():
    region = with_regions(sample((64, 64), [], []), [[8, 8, 24, 24], [40, 40, 48, 56]])
    config = AugmentConfig(**{**vars(NOTHING), "mosaic": 1.0})
    result = augment(MemoryDataset([region] * 4), 0, np.random.default_rng(3), config, (128, 128), True)
    shown = (result.image == [250, 250, 0]).all(axis=2)
    covered = np.zeros_like(shown)
    for x1, y1, x2, y2 in result.ignored_xyxy.round().astype(int):
        covered[y1:y2, x1:x2] = True
    assert len(result.ignored_xyxy) > 2
    assert (shown & ~covered).sum() == 0
    assert (result.ignored_xyxy[:, 2:] > result.ignored_xyxy[:, :2]).all()


def test_regions_change_nothing_else_that_is_drawn():
    plain = [sample((90, 120), [[30, 20, 75, 60]], [0])] * 3
    ignoring = [replace(each, ignored_xyxy=np.float32([[0, 0, 50, 50]])) for each in plain]
    one, other = (
        augment(MemoryDataset(made), 0, np.random.default_rng(5), AugmentConfig(), (64, 64), True)
        for made in (plain, ignoring)
    )
    np.testing.assert_array_equal(one.image, other.image)
    np.testing.assert_array_equal(one.boxes_xyxy, other.boxes_xyxy)
    assert (len(one.ignored_xyxy), len(other.ignored_xyxy) > 0) == (0, True)


def test_the_same_generator_gives_the_same_sample():
    dataset = MemoryDataset([sample((90, 120), [[30, 20, 75, 60]], [0])] * 3)
    one, two, other = (
        augment(dataset, 0, np.random.default_rng(seed), AugmentConfig(), (64, 64), True)
        for seed in (1, 1, 2)
    )
    np.testing.assert_array_equal(one.image, two.image)
    np.testing.assert_array_equal(one.boxes_xyxy, two.boxes_xyxy)
    assert (one.image != other.image).any()


def test_mosaic_joins_three_other_images_and_stays_off_when_told():
    dataset = MemoryDataset([sample((64, 64), [[8, 8, 56, 56]], [0])] * 2)
    augment(dataset, 0, np.random.default_rng(0), AugmentConfig(), (64, 64), mosaic=True)
    assert dataset.loads == 4
    augment(dataset, 0, np.random.default_rng(0), AugmentConfig(), (64, 64), mosaic=False)
    assert dataset.loads == 5


@pytest.mark.parametrize("name", ["mixup", "copy_paste"])
def test_mixup_and_copy_paste_change_samples_and_close_with_mosaic(name):
    config = AugmentConfig(**{**vars(NOTHING), name: 1.0})
    first, other = sample((64, 64), [[8, 8, 24, 24]], [0]), sample((64, 64), [[40, 40, 56, 56]], [1])
    for index in range(2):
        dataset = MemoryDataset([first, other])
        for seed in range(5):
            changed = augment(dataset, index, np.random.default_rng(seed), config, (64, 64), mosaic=True)
            assert len(changed.class_ids) == 2
        closed = augment(dataset, index, np.random.default_rng(0), config, (64, 64), mosaic=False)
        np.testing.assert_array_equal(closed.image, dataset.load(index).image)
        assert closed.class_ids.tolist() == [index]


@pytest.mark.parametrize("mosaic", [0.0, 1.0])
def test_a_data_set_of_one_image_is_combined_with_itself(mosaic):
    dataset = MemoryDataset([sample((64, 64), [[8, 8, 24, 24]], [2])])
    config = AugmentConfig(mosaic=mosaic, mixup=1.0, copy_paste=1.0)
    counts = set()
    for seed in range(8):
        result = augment(dataset, 0, np.random.default_rng(seed), config, (64, 64), True)
        assert set(result.class_ids.tolist()) <= {2}
        counts.add(len(result.class_ids))
    assert max(counts) >= 3, "two images, and what was pasted on them"


@pytest.mark.parametrize(
    ("mosaic", "sums"),  # of all coordinates, from samples made before mixup and copy-paste were there
    [
        (True, [148.218, 333.787, 536.607, 280.965, 208.223, 219.176]),
        (False, [70.926, 165.056, 130.842, 80.656, 85.193, 93.266]),
    ],
)
def test_without_mixup_and_copy_paste_old_seeds_give_their_old_samples(mosaic, sums):
    dataset = MemoryDataset([sample((48, 64), [[4 + k, 4, 30, 40]], [k]) for k in range(4)])
    drawn = [
        augment(dataset, 1, np.random.default_rng([0, seed]), AugmentConfig(), (64, 64), mosaic)
        for seed in range(6)
    ]
    assert [each.boxes_xyxy.sum() for each in drawn] == pytest.approx(sums, abs=2e-3)


@pytest.mark.parametrize("size", PAPER_AUGMENT)
def test_with_everything_on_boxes_lie_on_the_canvas_and_are_large_enough_to_see(size):
    crowd = [[x, y, x + 9, y + 11] for x in range(0, 110, 12) for y in range(0, 80, 14)]
    dataset = MemoryDataset(
        [sample((90, 120), crowd, [k % 4 for k in range(len(crowd))]), sample((80, 60), [], [])]
    )
    objects = 0
    for seed in range(15):
        result = augment(dataset, seed % 2, np.random.default_rng(seed), PAPER_AUGMENT[size], (96, 128), True)
        x1, y1, x2, y2 = result.boxes_xyxy.T
        assert min(x1, default=0) >= 0
        assert min(y1, default=0) >= 0
        assert max(x2, default=0) <= 128
        assert max(y2, default=0) <= 96
        assert (np.minimum(x2 - x1, y2 - y1) >= MIN_SIDE_PX).all()
        assert (result.boxes_xyxy.dtype, result.class_ids.dtype) == (np.float32, np.int64)
        assert result.image.shape == (96, 128, 3)
        objects += len(result.class_ids)
    assert objects > 100


def test_mixing_weighs_pixels_and_keeps_the_objects_of_both():
    dark, light = placed([[10, 10, 30, 30]], visible=[0.5]), placed([[20, 20, 60, 60], [0, 0, 4, 4]])
    regions = np.float32([[1, 2, 3, 4]]), np.float32([[5, 6, 7, 8], [0, 0, 2, 2]])
    dark, light = (replace(each, ignored_xyxy=own) for each, own in zip((dark, light), regions, strict=True))
    mixed = mix(dark, light, 0.25)
    np.testing.assert_array_equal(mixed.ignored_xyxy, [[1, 2, 3, 4], [5, 6, 7, 8], [0, 0, 2, 2]])
    np.testing.assert_array_equal(mixed.boxes_xyxy, [[10, 10, 30, 30], [20, 20, 60, 60], [0, 0, 4, 4]])
    assert mixed.visible.tolist() == [0.5, 1, 1]
    assert mixed.image[15, 15, 1:].tolist() == [45, 45]  # 0.25 × 0 + 0.75 × 60
    assert mixed.image[15, 15, 0] in (107, 108)  # 0.25 × 250 + 0.75 × 60 = 107.5
    assert mixed.image[25, 25].tolist() == [250, 0, 0]  # red in both
    assert mixed.image[90, 90].tolist() == [GREY] * 3


@pytest.mark.parametrize("ratio", [0.0, 1.0])
def test_a_mix_of_one_image_alone_is_that_image(ratio):
    one, other = placed([[10, 10, 30, 30]]), placed([])
    np.testing.assert_array_equal(mix(one, other, ratio).image, (other, one)[int(ratio)].image)
    assert mix(other, other, ratio).boxes_xyxy.shape == (0, 4)


def test_ratios_of_a_mixup_leave_both_images_to_be_seen():
    black, white = (np.full((64, 64, 3), level, dtype=np.uint8) for level in (0, 250))
    dataset = MemoryDataset([replace(sample((64, 64), [], []), image=image) for image in (black, white)])
    config = AugmentConfig(**{**vars(NOTHING), "mixup": 1.0})
    levels = [
        augment(dataset, 0, np.random.default_rng(seed), config, (64, 64), True).image[0, 0, 0]
        for seed in range(200)
    ]
    share_of_white = np.array([level for level in levels if level], dtype=float) / 250
    assert 60 < len(share_of_white) < 140  # the other image is the white one half of the time
    assert np.quantile(share_of_white, [0.025, 0.975]) == pytest.approx([0.38, 0.62], abs=0.05)
    assert len(set(levels)) > 20


def test_images_without_objects_stay_without():
    dataset = MemoryDataset([sample((64, 48), [], [])])
    config = AugmentConfig(degrees=5, mixup=1.0, copy_paste=1.0)
    result = augment(dataset, 0, np.random.default_rng(0), config, (64, 64), True)
    assert result.boxes_xyxy.shape == (0, 4)
    assert result.boxes_xyxy.dtype == np.float32
    assert result.class_ids.shape == (0,)


def test_a_shift_by_whole_pixels_moves_pixels_and_boxes_alike():
    moved = warp(placed([[10, 20, 30, 40]]), shift(5, -10), (100, 100))
    np.testing.assert_array_equal(moved.boxes_xyxy, [[15, 10, 35, 30]])
    assert extent((moved.image == [250, 0, 0]).all(axis=2)) == [15, 10, 35, 30]
    assert (moved.image[:, :5] == PAD_VALUE).all()


def test_halving_keeps_pixel_edges_on_pixel_edges():
    halved = warp(placed([[20, 40, 60, 80]]), shift(0, 0, scale=0.5), (50, 50))
    np.testing.assert_array_equal(halved.boxes_xyxy, [[10, 20, 30, 40]])
    assert extent(halved.image[..., 0] > 200) == [10, 20, 30, 40]


@pytest.mark.parametrize(
    ("moved_out", "left"),
    [
        pytest.param(15, 1, id="a quarter left: kept"),
        pytest.param(18, 1, id="a tenth left: kept"),
        pytest.param(19, 0, id="a twentieth left: dropped"),
        pytest.param(40, 0, id="wholly outside: dropped"),
    ],
)
def test_an_object_needs_a_tenth_of_its_area_on_the_canvas(moved_out, left):
    moved = warp(placed([[0, 0, 20, 20]]), shift(-moved_out, 0), (100, 100))
    assert [len(part) for part in (moved.boxes_xyxy, moved.class_ids, moved.visible)] == [left] * 3


def test_what_a_mosaic_cut_off_counts_too():
    half_gone = placed([[0, 0, 20, 20]], visible=[0.15])
    assert warp(half_gone, shift(0, 0), (100, 100)).visible == pytest.approx([0.15])
    assert len(warp(half_gone, shift(-10, 0), (100, 100)).visible) == 0  # 0.15 × 0.5 is less than a tenth


@pytest.mark.parametrize(("side", "left"), [(4, 1), (3, 0)])
def test_an_object_needs_two_pixels_each_way(side, left):
    halved = warp(placed([[10, 10, 10 + side, 50]]), shift(0, 0, scale=0.5), (50, 50))
    assert len(halved.boxes_xyxy) == left


def test_flips_mirror_boxes_and_pixels():
    made = sample((20, 30), [[2, 3, 10, 9]], [0])
    flipped = flip(made, axis=1)
    np.testing.assert_array_equal(flipped.boxes_xyxy, [[20, 3, 28, 9]])
    assert extent(flipped.image[..., 0] > 200) == [20, 3, 28, 9]
    flipped = flip(made, axis=0)
    np.testing.assert_array_equal(flipped.boxes_xyxy, [[2, 11, 10, 17]])
    assert extent(flipped.image[..., 0] > 200) == [2, 11, 10, 17]


def test_colours_change_and_grey_stays_grey():
    image = sample((8, 8), [[0, 0, 4, 8]], [0]).image
    config = AugmentConfig(hsv_hue=0.1, hsv_saturation=0.5, hsv_value=0.5)
    shifted = shift_colours(image, np.random.default_rng(3), config)
    assert (shifted[:, :4] != image[:, :4]).any()
    assert np.ptp(shifted[0, 7]) == 0


def test_colours_stay_when_all_gains_are_off():
    image = sample((8, 8), [[0, 0, 4, 8]], [0]).image
    assert shift_colours(image, np.random.default_rng(0), NOTHING) is image
