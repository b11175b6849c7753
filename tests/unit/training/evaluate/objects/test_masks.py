"""Masks of detected objects, pixel by pixel."""

import numpy as np
import pytest
import torch

import service.pipeline.letterbox
import service.pipeline.masks
import service.pipeline.rle
from training.data.images.letterbox import Letterbox
from training.evaluate.detections import Candidates, DetectConfig
from training.evaluate.objects.masks import MASKS, object_mask

PROTOTYPES = 3
PLACES = [
    pytest.param((48, 64), (64, 64), id="padded above and below, of the same size"),
    pytest.param((97, 33), (64, 96), id="made smaller, padded at the sides"),
    pytest.param((15, 21), (64, 96), id="made larger"),
    pytest.param((130, 300), (96, 64), id="made much smaller"),
]


def boxes_of(image_hw, rng):
    """Boxes inside the image, at its borders, partly and wholly outside, very thin, and empty."""
    height, width = image_hw
    low = rng.uniform((-0.3 * width, -0.3 * height), (width, height), (25, 2))
    random = np.concatenate([low, low + rng.uniform(0.1, 0.9, (25, 2)) * (width, height)], axis=1)
    chosen = [
        (0, 0, width, height),
        (-5, -5, width + 5, height + 5),
        (0.5, 0.5, width - 0.5, height - 0.5),
        (0.51, 0.49, 1.5, 1.49),
        (width - 1, height - 1, width, height),
        (-9, 2, -3, 8),
        (width + 1, 1, width + 7, 5),
        (2, -8, 9, -1),
        (4.2, 4.2, 4.3, 9),
        (3, 3, 3, 3),
    ]
    return np.concatenate([random, chosen]).astype(np.float32)


def logits_in_source(coefficients, prototypes, placed, image_hw):
    """The logits at the centres of all pixels, in float64, one bilinear reading after the other."""
    cells = np.einsum("k,khw->hw", coefficients.astype(float), prototypes.astype(float))
    height, width = cells.shape
    logits = np.zeros(image_hw)
    for y in range(image_hw[0]):
        for x in range(image_hw[1]):
            row = ((y + 0.5) * placed.scale + placed.top) / 4 - 0.5
            column = ((x + 0.5) * placed.scale + placed.left) / 4 - 0.5
            row, column = min(max(row, 0), height - 1), min(max(column, 0), width - 1)
            top, left = min(int(row), height - 2), min(int(column), width - 2)
            down, right = row - top, column - left
            upper = cells[top, left] * (1 - right) + cells[top, left + 1] * right
            lower = cells[top + 1, left] * (1 - right) + cells[top + 1, left + 1] * right
            logits[y, x] = upper * (1 - down) + lower * down
    return logits


@pytest.mark.parametrize(("image_hw", "input_hw"), PLACES)
def test_pixels_are_those_of_the_service_and_of_the_full_computation(image_hw, input_hw):
    rng = np.random.default_rng(3)
    placed = Letterbox.fit(image_hw, input_hw)
    theirs = service.pipeline.letterbox.Letterbox.fit(image_hw, input_hw)
    shape = (PROTOTYPES, input_hw[0] // 4, input_hw[1] // 4)
    prototypes = rng.normal(size=shape).astype(np.float16).astype(np.float32)
    coefficients = rng.normal(size=PROTOTYPES).astype(np.float32)
    logits = logits_in_source(coefficients, prototypes, placed, image_hw)
    unsure = np.abs(logits) < 1e-5  # there, float32 can round to the other side
    assert unsure.mean() < 0.001
    y, x = np.mgrid[: image_hw[0], : image_hw[1]] + 0.5
    set_pixels = 0
    for box in boxes_of(image_hw, rng):
        mask = object_mask(coefficients, prototypes, box, placed, image_hw)
        got = mask.on(image_hw)
        inside = (x >= box[0]) & (x < box[2]) & (y >= box[1]) & (y < box[3])
        np.testing.assert_array_equal(got[~unsure], (inside & (logits > 0))[~unsure])
        served = service.pipeline.masks.object_mask(coefficients, prototypes, box, theirs, image_hw, 4)
        theirs_whole = service.pipeline.rle.decode_rle(
            service.pipeline.rle.encode_rle(served, image_hw), image_hw
        )
        np.testing.assert_array_equal(got[~unsure], theirs_whole[~unsure])
        set_pixels += int(got.sum())
    assert set_pixels > 0.2 * got.size


def test_the_kept_detections_have_the_masks_of_their_own_coefficients():
    placed, image_hw = Letterbox.fit((32, 64), (64, 64)), (32, 64)  # 16 rows of padding above and below
    prototypes = torch.zeros(2, 16, 16, dtype=torch.float16)
    prototypes[0], prototypes[1, :, :8], prototypes[1, :, 8:] = 1, 1, -1
    candidates = Candidates(
        torch.tensor([[8.0, 20, 24, 44], [9, 20, 25, 44], [20, 16, 44, 48], [4, 4, 60, 60]]),
        torch.tensor([0.9, 0.8, 0.7, 0.0005]),
        torch.tensor([0, 0, 1, 1]),
        torch.tensor([[1.0, 0], [0, 0], [0, 1], [1, 0]]),
        prototypes,
    )
    found = MASKS.keep(candidates, placed, image_hw, DetectConfig())
    assert found.scores.tolist() == pytest.approx([0.9, 0.7])  # one is suppressed, one is too unlikely
    first, second = (mask.bitmap() for mask in found.masks)
    expected = np.zeros(image_hw, bool)
    expected[4:28, 8:24] = True
    np.testing.assert_array_equal(first, expected)
    expected[:], expected[:, 20:32] = False, True  # the second prototype is positive on the left only
    np.testing.assert_array_equal(second, expected)
