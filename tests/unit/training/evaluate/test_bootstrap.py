import numpy as np
import pytest

from tests.unit.training.evaluate.objects.random_objects import KINDS, random_images
from training.data.evaluation import Truth
from training.errors import DatasetError
from training.evaluate.bootstrap import ResampledMap, paired_bootstrap
from training.evaluate.detections import Detections
from training.evaluate.mean_ap import mean_average_precision

NAMES = ("cat", "dog", "owl")
IMAGES = 24


def scenes(seed: int, blur: float, *, regions: bool = False) -> tuple[list[Truth], list[Detections]]:
    """Objects of three classes, found with some pixels of error, beside detections of nothing."""
    rng, noise = np.random.default_rng(0), np.random.default_rng(seed)
    truths, found = [], []
    for image in range(IMAGES):
        count = int(rng.integers(1, 9))
        corners = rng.uniform(0, 150, (count, 2))
        boxes = np.concatenate([corners, corners + rng.uniform(8, 60, (count, 2))], axis=1).astype(np.float32)
        classes = rng.integers(0, 3, count)
        where = rng.uniform(0, 150, (2 if regions else 0, 2))
        ignored = np.concatenate([where, where + 70], axis=1).astype(np.float32)
        truths.append(Truth(boxes, classes, (256, 256), str(image), ignored))
        extra = noise.uniform(0, 150, (6, 2))
        others = np.concatenate([extra, extra + noise.uniform(8, 60, (6, 2))], axis=1)
        near = boxes + noise.normal(0, blur, boxes.shape)
        near[:, 2:] = np.maximum(near[:, 2:], near[:, :2] + 1)
        answers = np.concatenate([near, others]).astype(np.float32)
        labels = np.concatenate([classes, noise.integers(0, 3, 6)])
        scores = np.concatenate([noise.uniform(0.3, 1, count), noise.uniform(0, 0.7, 6)]).round(2)
        order = np.argsort(-scores, kind="stable")
        found.append(Detections(answers[order], scores[order].astype(np.float32), labels[order]))
    return truths, found


@pytest.mark.parametrize("regions", [False, True])
@pytest.mark.parametrize("blur", [0.0, 1.5, 5.0])
def test_every_image_once_is_the_map_of_the_coco_api(blur, regions):
    truths, found = scenes(1, blur, regions=regions)
    expected = mean_average_precision(truths, found, NAMES).map50_95
    assert 0.05 < expected < 1
    assert ResampledMap(truths, found).of(np.arange(IMAGES)) == pytest.approx(expected, abs=1e-12)


@pytest.mark.parametrize("name", list(KINDS))
def test_masks_keypoints_and_oriented_boxes_are_drawn_like_boxes(name):
    kind = KINDS[name]
    truths, found = random_images(name, seed=2, images=IMAGES)
    score = ResampledMap(truths, found, kind)
    expected = mean_average_precision(truths, found, NAMES, kind).map50_95
    assert 0.05 < expected < 1
    assert score.of(np.arange(IMAGES)) == pytest.approx(expected, abs=1e-12)
    drawn = np.sort(np.resize([0, 3, 3, 5, 8, 8, 8, 11], IMAGES))
    repeated = mean_average_precision([truths[i] for i in drawn], [found[i] for i in drawn], NAMES, kind)
    assert score.of(drawn) == pytest.approx(repeated.map50_95, abs=1e-12)
    none = [each.where(np.zeros(len(each.scores), bool)) for each in found]
    result = paired_bootstrap(truths, found, none, kind, draws=20)
    assert (result.first, result.second, result.share_better) == (pytest.approx(expected), 0, 1)


@pytest.mark.parametrize("in_region", [False, True])
def test_an_overlap_that_lies_on_a_threshold_lies_there_for_both(in_region):
    """Of boxes to hundredths of a pixel, as labels have them, float32 corners miss it by a hair."""
    truths, found = [], []
    for image in range(IMAGES):
        left, top = 100.01 + 13.37 * image, 50.03 + 7.19 * image
        box = np.array([[left, top, left + 40.4, top + 20.2]], np.float32)
        height = 20.2 * (0.5, 0.75, 0.8)[image % 3]
        near = np.array([[left, top, left + 40.4, top + height]], np.float32)
        aside = np.array([[left + 100, top, left + 140.4, top + 20.2]], np.float32)
        region = aside * [1, 1, 1, 0] + [[0, 0, 0, top + height]]
        truths.append(Truth(box, np.array([0]), (512, 512), "a", region[: int(in_region)].astype(np.float32)))
        boxes, scores = np.concatenate([near, aside]), np.array([0.9 - 0.01 * image, 0.89 - 0.01 * image])
        found.append(Detections(boxes, scores.astype(np.float32), np.array([0, 0])))
    ours = ResampledMap(truths, found).of(np.arange(IMAGES))
    assert ours == pytest.approx(mean_average_precision(truths, found, NAMES).map50_95, abs=1e-12)


def test_an_image_that_is_drawn_twice_counts_as_two():
    truths, found = scenes(1, 2.0)
    drawn = np.sort(np.resize([0, 3, 3, 5, 7, 7, 7, 11], IMAGES))
    repeated = mean_average_precision([truths[i] for i in drawn], [found[i] for i in drawn], NAMES)
    assert ResampledMap(truths, found).of(drawn) == pytest.approx(repeated.map50_95, abs=1e-12)


def test_a_sample_without_objects_has_no_map():
    truths, found = scenes(1, 2.0)
    empty = Truth(np.zeros((0, 4), np.float32), np.zeros(0, np.int64), (256, 256), "empty")
    assert ResampledMap([*truths[1:], empty], found).of(np.full(IMAGES, IMAGES - 1)) == 0


def test_a_detector_is_no_better_than_itself():
    truths, found = scenes(1, 2.0)
    result = paired_bootstrap(truths, found, found, draws=50)
    assert (result.difference, result.low, result.high, result.share_better) == (0, 0, 0, 0)


def test_a_detector_that_is_plainly_better_is_told_from_the_other():
    truths, sharp = scenes(1, 1.0)
    _, blurred = scenes(2, 6.0)
    result = paired_bootstrap(truths, sharp, blurred, draws=200)
    assert 0 < result.low < result.difference < result.high
    assert result.share_better == 1
    assert result.difference == result.first - result.second
    turned = paired_bootstrap(truths, blurred, sharp, draws=200)
    assert (turned.low, turned.high) == pytest.approx((-result.high, -result.low))


def test_of_two_alike_none_is_told_to_be_better():
    truths, one = scenes(1, 3.0)
    _, other = scenes(2, 3.0)
    result = paired_bootstrap(truths, one, other, draws=200)
    assert result.low < 0 < result.high


def test_the_same_seed_draws_the_same_images():
    truths, one = scenes(1, 2.0)
    _, other = scenes(2, 4.0)
    runs = [paired_bootstrap(truths, one, other, draws=20, seed=seed) for seed in (3, 3, 4)]
    assert runs[0] == runs[1] != runs[2]


def test_one_image_cannot_be_drawn_from():
    truths, found = scenes(1, 2.0)
    with pytest.raises(DatasetError, match="at least two"):
        paired_bootstrap(truths[:1], found[:1], found[:1])


def test_images_without_objects_have_no_map():
    empty = Truth(np.zeros((0, 4), np.float32), np.zeros(0, np.int64), (9, 9), "a")
    nothing = Detections(np.zeros((0, 4), np.float32), np.zeros(0, np.float32), np.zeros(0, np.int64))
    with pytest.raises(DatasetError, match="no object"):
        paired_bootstrap([empty, empty], [nothing] * 2, [nothing] * 2)


def test_a_detector_that_says_nothing_has_none():
    truths, found = scenes(1, 2.0)
    nothing = Detections(np.zeros((0, 4), np.float32), np.zeros(0, np.float32), np.zeros(0, np.int64))
    result = paired_bootstrap(truths, found, [nothing] * IMAGES, draws=20)
    assert result.second == 0
    assert result.low > 0
