"""Masks, keypoints and oriented boxes follow the pixels; each is compared with a full image pushed along."""

from dataclasses import replace

import cv2
import numpy as np
import pytest

from tests.unit.training.data.small_data import MemoryDataset, sample
from training.config import AugmentConfig
from training.data.augmentation.augment import augment, flip, mix, warp
from training.data.augmentation.copy_paste import cover, cut_outline, paste_objects, paste_patch
from training.data.augmentation.mosaic import Placed, join_four
from training.data.class_subset import ChosenClasses
from training.data.combined import CombinedDataset
from training.data.evaluation import Truth
from training.data.images.letterbox import letterbox_image, scale_sample
from training.data.masks import Mask
from training.data.sample import Sample
from training.errors import DatasetError
from training.skeleton import Skeleton

HANDS = Skeleton(names=("left", "head", "right"), flip_ids=(2, 1, 0))
BLOB = 6.0  # spread of a keypoint's blob, pixels
PLAIN = AugmentConfig(
    mosaic=0, hsv_hue=0, hsv_saturation=0, hsv_value=0, translate=0, scale=0, flip_horizontal=0
)


def ellipse(image_hw, centre, axes, angle):
    drawn = np.zeros(image_hw, np.uint8)
    cv2.ellipse(drawn, centre, axes, angle, 0, 360, 255, -1)
    return drawn > 0


def shaped(image_hw=(120, 160), seed=0):
    """Return three objects: ellipses with masks, three keypoints, and a rectangle turned with them."""
    rng = np.random.default_rng(seed)
    height, width = image_hw
    masks, corners, keypoints = [], [], []
    for place in range(3):
        axes = int(rng.integers(14, 22)), int(rng.integers(8, 14))
        centre = int(width * (place + 0.8) / 3.6), int(rng.integers(height // 3, 2 * height // 3))
        angle = float(rng.uniform(0, 180))
        masks.append(Mask.of(ellipse(image_hw, centre, axes, angle)))
        turn = np.deg2rad(angle)
        along, across = np.array([np.cos(turn), np.sin(turn)]), np.array([-np.sin(turn), np.cos(turn)])
        signs = [(-1, -1), (1, -1), (1, 1), (-1, 1)]
        corners.append([np.add(centre, 0.5) + a * axes[0] * along + b * axes[1] * across for a, b in signs])
        keypoints.append([[*(np.add(centre, 0.5) + step * along), 2] for step in (-10, 0, 10)])
    boxes = [[m.left, m.top, m.left + m.bitmap.shape[1], m.top + m.bitmap.shape[0]] for m in masks]
    made = sample(image_hw, boxes, [0, 1, 2])
    made.image[:] = rng.integers(0, 256, made.image.shape)
    return replace(
        made,
        masks=tuple(masks),
        keypoints=np.float32(keypoints),
        corners=np.float32(corners).reshape(-1, 4, 2),
    )


def oriented():
    made = replace(shaped(), masks=None, keypoints=None)
    return replace(made, boxes_xyxy=np.hstack([made.corners.min(axis=1), made.corners.max(axis=1)]))


def as_placed(made: Sample) -> Placed:
    height, width = made.image.shape[:2]
    return Placed.through((0, 0, width, height), made, made.image, (0, 0))


def grey_of(mask, image_hw):
    return mask.on(image_hw).astype(np.uint8) * 255


def blob(point, image_hw):
    y, x = np.mgrid[: image_hw[0], : image_hw[1]] + 0.5
    return np.float32(np.exp(-((x - point[0]) ** 2 + (y - point[1]) ** 2) / (2 * BLOB**2)))


def centroid(image):
    y, x = np.mgrid[: image.shape[0], : image.shape[1]] + 0.5
    return np.array([(x * image).sum(), (y * image).sum()]) / image.sum()


def follow(affine, image, size_hw):
    """Push an image through cv2 by a map of pixel edges, which cv2 takes as a map of pixel centres."""
    centres = affine.copy()
    centres[:, 2] += affine[:, :2] @ [0.5, 0.5] - 0.5
    return cv2.warpAffine(image, centres, size_hw[::-1], flags=cv2.INTER_LINEAR)


def tight(whole):
    rows, columns = np.flatnonzero(whole.any(1)), np.flatnonzero(whole.any(0))
    return [columns[0], rows[0], columns[-1] + 1, rows[-1] + 1]


def turned(degrees, scale, shift):
    angle = np.deg2rad(degrees)
    cos, sin = scale * np.cos(angle), scale * np.sin(angle)
    return np.array([[cos, -sin, shift[0]], [sin, cos, shift[1]]])


def differing(one, other):
    return np.count_nonzero(one != other) / max(1, np.count_nonzero(other))


@pytest.mark.parametrize("scale", [0.6, 1.0, 1.7])
@pytest.mark.parametrize("degrees", [0.0, 33.0, -100.0])
def test_an_affine_map_moves_masks_and_points_like_the_pixels(degrees, scale):
    made, out_hw = replace(shaped(), corners=None), (150, 170)
    middle = np.array([85, 75]) - turned(degrees, scale, (0, 0))[:, :2] @ [80, 60]
    affine = turned(degrees, scale, middle)
    result = warp(as_placed(made), affine, out_hw)
    checked = 0
    for mask, points, box, class_id, share in zip(
        result.masks, result.keypoints, result.boxes_xyxy, result.class_ids, result.visible, strict=True
    ):
        expected = follow(affine, grey_of(made.masks[class_id], (120, 160)), out_hw) >= 128
        assert differing(mask.on(out_hw), expected) <= 0.01
        np.testing.assert_allclose(box, tight(expected), atol=1)
        full = np.count_nonzero(made.masks[class_id].bitmap) * scale**2
        assert share == pytest.approx(np.count_nonzero(expected) / full, abs=0.03)
        for before, after in zip(made.keypoints[class_id], points, strict=True):
            mapped = affine[:, :2] @ before[:2] + affine[:, 2]
            inside = (mapped >= 0).all() and (mapped <= out_hw[::-1]).all()
            assert after.tolist() == [0, 0, 0] if not inside else after[2] == 2
            if (
                inside
                and (mapped > 4 * BLOB * scale).all()
                and (mapped < np.array(out_hw[::-1]) - 4 * BLOB * scale).all()
            ):
                moved = follow(affine, blob(before, (120, 160)), out_hw)
                np.testing.assert_allclose(centroid(moved), after[:2], atol=0.5)
                checked += 1
    assert checked


def test_corners_stay_whole_and_their_box_is_cut():
    made = oriented()
    affine = turned(20, 1.2, (-30, -10))
    result = warp(as_placed(made), affine, (110, 150))
    dropped = 0
    for class_id, before in enumerate(made.corners):
        mapped = before @ affine[:, :2].T + affine[:, 2]
        # Count the visible part on a canvas ten times as fine, which is large enough to hold all of it.
        drawn = np.zeros((3000, 4000), np.uint8)
        cv2.fillPoly(drawn, [np.round(mapped * 10 + 800).astype(np.int32)], 1)
        share = drawn[800:1900, 800:2300].sum() / drawn.sum()
        centre = mapped.mean(axis=0)
        if (centre < 0).any() or (centre > [150, 110]).any() or share < 0.1:
            assert class_id not in result.class_ids
            dropped += 1
            continue
        place = result.class_ids.tolist().index(class_id)
        np.testing.assert_allclose(result.corners[place], mapped, atol=1e-3)
        box = np.clip([*mapped.min(axis=0), *mapped.max(axis=0)], 0, [150, 110, 150, 110])
        np.testing.assert_allclose(result.boxes_xyxy[place], box, atol=1e-3)
        assert result.visible[place] == pytest.approx(share, abs=0.02)
    assert dropped < 3


def test_an_oriented_box_whose_centre_is_cut_off_is_dropped():
    made = replace(sample((100, 100), [[0, 40, 40, 60]], [0]), masks=None)
    made = replace(made, corners=np.float32([[[0, 40], [40, 40], [40, 60], [0, 60]]]))
    for shift, count in ((-19, 1), (-21, 0)):
        assert len(warp(as_placed(made), turned(0, 1, (shift, 0)), (100, 100)).class_ids) == count


@pytest.mark.parametrize("axis", [0, 1])
def test_a_mirrored_image_swaps_paired_keypoints(axis):
    made, result = shaped(), flip(shaped(), axis, HANDS)
    for place in range(3):
        whole = made.masks[place].on((120, 160))
        np.testing.assert_array_equal(result.masks[place].on((120, 160)), np.flip(whole, axis))
        for point, other in ((0, 2), (1, 1), (2, 0)):
            mirrored = np.flip(blob(made.keypoints[place, point], (120, 160)), axis)
            np.testing.assert_allclose(result.keypoints[place, other, :2], centroid(mirrored), atol=0.5)
        # The width of the box stays its width, and the corners still run clockwise.
        sides = np.linalg.norm(np.diff(made.corners[place], axis=0), axis=1)
        edges = np.diff(result.corners[place], axis=0)
        np.testing.assert_allclose(np.linalg.norm(edges, axis=1), sides, rtol=1e-5)
        assert edges[0, 0] * edges[1, 1] - edges[0, 1] * edges[1, 0] > 0
    upright = replace(made, corners=np.float32([[[10, 20], [40, 20], [40, 30], [10, 30]]] * 3))
    expected = [[120, 20], [150, 20], [150, 30], [120, 30]], [[10, 90], [40, 90], [40, 100], [10, 100]]
    assert flip(upright, axis, HANDS).corners[0].tolist() == expected[1 - axis]


def test_keypoints_without_pairs_are_not_mirrored():
    with pytest.raises(DatasetError, match="flip_ids"):
        flip(shaped(), 1)
    with pytest.raises(DatasetError, match="3 keypoints"):
        flip(shaped(), 0, Skeleton(names=("a",), flip_ids=(0,)))
    config = replace(PLAIN, flip_horizontal=1.0)
    with pytest.raises(DatasetError, match="flip_ids"):
        augment(MemoryDataset([shaped()]), 0, np.random.default_rng(0), config, (128, 128), mosaic=False)


def test_an_unlabelled_keypoint_stays_unlabelled():
    made = shaped()
    made.keypoints[:, 1] = 0
    for result in (warp(as_placed(made), turned(0, 1, (5, 5)), (120, 160)), flip(made, 1, HANDS)):
        assert not result.keypoints[:, 1].any()


@pytest.mark.parametrize("image_hw", [(120, 160), (97, 61), (331, 203)])
def test_a_letterbox_moves_shapes_like_the_pixels_and_back(image_hw):
    made = shaped(image_hw)
    scaled = scale_sample(made, (160, 160))
    out_hw = scaled.image.shape[:2]
    for before, after in zip(made.masks, scaled.masks, strict=True):
        expected = cv2.resize(grey_of(before, image_hw), out_hw[::-1], interpolation=cv2.INTER_LINEAR) >= 128
        assert differing(after.on(out_hw), expected) <= 0.01
    box = letterbox_image(made.image, (160, 160))[1]
    offset = np.float32([box.left, box.top])
    back = box.points_to_source(scaled.keypoints[..., :2] + offset)
    np.testing.assert_allclose(back, made.keypoints[..., :2], atol=1e-3)
    np.testing.assert_allclose(box.points_to_source(scaled.corners + offset), made.corners, atol=1e-3)


def test_a_mosaic_moves_and_cuts_masks_and_points():
    parts = [replace(shaped(seed=seed), corners=None) for seed in range(4)]
    result = join_four(parts, (90, 200), (120, 160))
    assert result.image.shape == (240, 320, 3)
    for place, (mask, points) in enumerate(zip(result.masks, result.keypoints, strict=True)):
        quarter, index = divmod(place, 3)
        left, top = 90 - (160 if quarter % 2 == 0 else 0), 200 - (120 if quarter < 2 else 0)
        canvas = np.zeros((800, 800), bool)
        canvas[200 + top : 320 + top, 200 + left : 360 + left] = parts[quarter].masks[index].on((120, 160))
        expected = canvas[200:440, 200:520]
        np.testing.assert_array_equal(mask.on((240, 320)), expected)
        assert result.visible[place] == pytest.approx(expected.sum() / canvas.sum())
        if expected.any():
            np.testing.assert_array_equal(result.boxes_xyxy[place], tight(expected))
        for before, after in zip(parts[quarter].keypoints[index], points, strict=True):
            x, y = before[0] + left, before[1] + top
            shown = 0 <= x <= 320 and 0 <= y <= 240
            np.testing.assert_allclose(after, [x, y, 2] if shown else [0, 0, 0], atol=1e-4)


def test_mixup_joins_all_shapes_and_refuses_a_mixture():
    one, other = as_placed(shaped(seed=1)), as_placed(shaped(seed=2))
    result = mix(one, other, 0.5)
    assert len(result.masks) == len(result.keypoints) == len(result.corners) == 6
    np.testing.assert_array_equal(result.masks[4].on((120, 160)), other.masks[1].on((120, 160)))
    np.testing.assert_array_equal(result.keypoints[3:], other.keypoints)
    with pytest.raises(DatasetError, match="masks"):
        mix(one, replace(other, masks=None), 0.5)


def test_a_cut_outline_has_no_ignored_regions():
    source = shaped(seed=5)
    region = Mask(0, 0, np.ones((9, 9), bool))
    crowded = replace(source, ignored_xyxy=np.float32([[0, 0, 9, 9]]), ignored_masks=(region,))
    patch, without = cut_outline(crowded, 1), cut_outline(source, 1)
    assert len(patch.content.ignored_xyxy) == 0
    np.testing.assert_array_equal(patch.content.image, without.content.image)


def test_an_outline_pastes_exactly_its_pixels():
    source, canvas = replace(shaped(seed=5), corners=None), as_placed(replace(shaped(seed=6), corners=None))
    patch = cut_outline(source, 1)
    mask = source.masks[1]
    for left_top in ((5, 30), (60, 50), (100, 40)):
        result = paste_patch(canvas, patch, left_top)
        pasted = np.zeros((120, 160), bool)
        height, width = mask.bitmap.shape
        pasted[left_top[1] : left_top[1] + height, left_top[0] : left_top[0] + width] = mask.bitmap
        np.testing.assert_array_equal(result.image[~pasted], canvas.image[~pasted])
        np.testing.assert_array_equal(result.image[pasted], source.image[mask.on((120, 160))])
        np.testing.assert_array_equal(result.masks[-1].on((120, 160)), pasted)
        shift = np.subtract(left_top, (mask.left, mask.top))
        np.testing.assert_allclose(result.keypoints[-1, :, :2], source.keypoints[1, :, :2] + shift, atol=1e-4)
        for before, class_id in zip(canvas.masks, canvas.class_ids, strict=True):
            whole = before.on((120, 160))
            remaining = whole & ~pasted
            if remaining.sum() / whole.sum() < 0.1:
                continue
            place = result.class_ids[:-1].tolist().index(class_id)
            np.testing.assert_array_equal(result.masks[place].on((120, 160)), remaining)
            np.testing.assert_array_equal(result.boxes_xyxy[place], tight(remaining))
            assert result.visible[place] == pytest.approx(remaining.sum() / whole.sum())
            for old, new in zip(canvas.keypoints[class_id], result.keypoints[place], strict=True):
                hidden = pasted[int(old[1]), int(old[0])]
                np.testing.assert_array_equal(new, [*old[:2], 1 if hidden else 2])


def test_a_covered_oriented_box_keeps_its_corners_and_its_box():
    canvas = as_placed(oriented())
    x1, y1, x2, y2 = (int(end) for end in canvas.boxes_xyxy[0])
    result = cover(canvas, (x1 - 5, y1 - 5, (x1 + x2) // 2, y2 + 5))
    np.testing.assert_array_equal(result.corners, canvas.corners)
    np.testing.assert_array_equal(result.boxes_xyxy, canvas.boxes_xyxy)
    assert result.visible[0] == pytest.approx(0.5, abs=0.05)


def test_random_pastes_keep_masks_apart():
    source = replace(shaped(seed=5), corners=None)
    more = 0
    for seed in range(20):
        canvas = as_placed(replace(shaped(seed=6), corners=None))
        result = paste_objects(canvas, source, np.random.default_rng(seed))
        total = sum(mask.on((120, 160)).astype(int) for mask in result.masks)
        more += len(result.masks) > 3
        own = sum(mask.on((120, 160)).astype(int) for mask in canvas.masks)
        assert total.max() <= own.max()
    assert more > 5


def test_an_augmented_sample_holds_all_labels_and_others_none():
    config = replace(PLAIN, mosaic=1.0, copy_paste=1.0, mixup=1.0, flip_horizontal=0.5, scale=0.5, degrees=9)
    dataset = MemoryDataset([replace(shaped(seed=seed), corners=None) for seed in range(6)])
    dataset.skeleton = HANDS
    plain = MemoryDataset([sample((80, 90), [[10, 10, 40, 50]], [0])] * 6)
    for seed in range(5):
        result = augment(dataset, 0, np.random.default_rng(seed), config, (128, 160), mosaic=True)
        assert len(result.masks) == len(result.keypoints) == len(result.boxes_xyxy) > 0
        for mask, box in zip(result.masks, result.boxes_xyxy, strict=True):
            np.testing.assert_allclose(box, tight(mask.on((128, 160))), atol=1)
        assert result.corners is None
        other = augment(plain, 0, np.random.default_rng(seed), config, (128, 160), mosaic=True)
        assert other.masks is other.keypoints is other.corners is None


def test_views_filter_and_pass_on_all_shapes():
    made = shaped()
    dataset = MemoryDataset([made])
    dataset.skeleton = HANDS
    chosen = ChosenClasses(dataset, ["blue", "red"])
    kept = chosen.load(0)
    assert (kept.class_ids.tolist(), chosen.skeleton) == ([1, 0], HANDS)
    assert kept.masks == (made.masks[0], made.masks[2])
    np.testing.assert_array_equal(kept.keypoints, made.keypoints[[0, 2]])
    np.testing.assert_array_equal(kept.corners, made.corners[[0, 2]])
    both = CombinedDataset([dataset, dataset], ["one", "other"], shared_classes=True)
    assert both.skeleton == HANDS
    assert both.load(1).masks == made.masks
    with pytest.raises(DatasetError, match="keypoints of one and other differ"):
        CombinedDataset([dataset, MemoryDataset([made])], ["one", "other"], shared_classes=True)
    truth = Truth.of(made)
    assert (truth.masks, truth.keypoints is made.keypoints) == (made.masks, True)
    assert truth.corners is made.corners
