"""Random crops of whole images."""

from dataclasses import replace

import numpy as np
import pytest

from training.config import AugmentConfig
from training.data.augmentation.random_crop import augment_whole, random_crop
from training.errors import ConfigError

STILL = AugmentConfig(
    crop_area=1.0, crop_aspect=1.0, hsv_hue=0, hsv_saturation=0, hsv_value=0, flip_horizontal=0
)


def gradient(height, width):
    """Red says the column, green the row, both as 0..255 over the image."""
    image = np.zeros((height, width, 3), dtype=np.uint8)
    image[..., 0] = np.linspace(0, 255, width)
    image[..., 1] = np.linspace(0, 255, height)[:, None]
    return image


def shown_area(crop):
    """Return the share of the gradient that a crop shows."""
    spans = [np.ptp(crop[..., channel].astype(float)) / 255 for channel in (0, 1)]
    return spans[0] * spans[1]


def test_a_crop_of_everything_is_the_image():
    image = gradient(64, 64)
    for seed in range(5):
        np.testing.assert_array_equal(
            augment_whole(image, np.random.default_rng(seed), STILL, (64, 64)), image
        )


@pytest.mark.parametrize("least", [0.25, 0.7])
def test_crops_show_at_least_their_share_and_reach_from_it_to_all(least):
    image, rng = gradient(256, 256), np.random.default_rng(0)
    config = replace(STILL, crop_area=least)
    areas = [shown_area(random_crop(image, rng, config, (64, 64))) for _ in range(200)]
    assert min(areas) > least - 0.03
    assert min(areas) < least + 0.05
    assert max(areas) > 0.95


def test_crops_are_wider_or_higher_by_no_more_than_the_aspect():
    image, rng = gradient(256, 256), np.random.default_rng(0)
    config = replace(STILL, crop_area=0.3, crop_aspect=2.0)
    ratios = []
    for _ in range(300):
        crop = random_crop(image, rng, config, (64, 64)).astype(float)
        ratios.append(np.ptp(crop[..., 0]) / np.ptp(crop[..., 1]))
    assert 1.7 < max(ratios) < 2.15
    assert 1 / 2.15 < min(ratios) < 1 / 1.7


def test_where_no_crop_fits_it_is_the_centre():
    image, rng = gradient(40, 640), np.random.default_rng(0)
    crop = random_crop(image, rng, STILL, (40, 40))
    np.testing.assert_array_equal(crop, image[:, 300:340])


def test_half_of_the_samples_are_mirrored_and_colours_move():
    image, rng = gradient(64, 64), np.random.default_rng(0)
    mirrored = replace(STILL, flip_horizontal=0.5)
    left = [augment_whole(image, rng, mirrored, (64, 64))[0, 0, 0] for _ in range(100)]
    assert set(left) == {0, 255}
    assert 30 < sum(value == 255 for value in left) < 70
    upside_down = augment_whole(image, rng, replace(STILL, flip_vertical=1.0), (64, 64))
    np.testing.assert_array_equal(upside_down, image[::-1])
    darker = augment_whole(image, rng, replace(STILL, hsv_value=0.9), (64, 64))
    assert (darker != image).any()


def test_the_same_generator_gives_the_same_sample():
    image = gradient(100, 150)
    one, other = (augment_whole(image, np.random.default_rng(3), AugmentConfig(), (64, 96)) for _ in range(2))
    np.testing.assert_array_equal(one, other)
    assert one.shape == (64, 96, 3)


@pytest.mark.parametrize(("name", "value"), [("crop_area", 0.0), ("crop_area", 1.01), ("crop_aspect", 0.99)])
def test_a_crop_that_cannot_be_is_refused(name, value):
    with pytest.raises(ConfigError, match=name):
        replace(STILL, **{name: value})
    replace(STILL, crop_area=0.01, crop_aspect=1.0)
