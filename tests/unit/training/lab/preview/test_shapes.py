"""The preview draws masks, keypoints and oriented boxes in the right places."""

from dataclasses import replace

import numpy as np
import pytest

from tests.unit.training.data.small_data import GREY, MemoryDataset, sample
from training.config import TASK_SUFFIXES, TrainConfig
from training.data.loading.collate import collate_corners, collate_keypoints, collate_masks
from training.data.loading.loader import TrainingLoader
from training.data.masks import Mask
from training.data.scenes.objects import RAY_SKELETON
from training.data.scenes.scenes import ScenesDataset
from training.data_config import ScenesConfig
from training.lab.preview import GAP_PX, batch_sample, contact_sheet, edges_of, letterboxed, training_samples
from training.models.variants import model_config
from training.predict.shapes import class_colour
from training.skeleton import Skeleton
from training.tasks.obb import OBB
from training.tasks.pose import POSE
from training.tasks.segment import SEGMENT


def grey(**labels):
    """Make a grey sample (40, 80) with one object at the lower right; tiles are four times as large."""
    made = sample((40, 80), [[70, 30, 80, 40]], [0])
    made.image[:] = GREY
    return replace(made, **labels)


def tile(made, edges=()):
    return contact_sheet([made], ("",), edges)[GAP_PX:-GAP_PX, GAP_PX:-GAP_PX]


def test_a_mask_is_mixed_with_its_colour():
    drawn = tile(grey(masks=(Mask(10, 5, np.ones((20, 30), dtype=bool)),)))
    changed = (drawn[:, :260] != GREY).any(axis=2)
    wanted = np.zeros_like(changed)
    wanted[20:100, 40:160] = True
    np.testing.assert_array_equal(changed, wanted)
    np.testing.assert_array_equal(drawn[60, 100], (GREY + np.array(class_colour(0))) // 2)
    np.testing.assert_array_equal(drawn[20, 40], class_colour(0))  # the contour


def test_keypoints_are_dots_if_visible_rings_if_hidden_and_else_left_out():
    points = np.array([[[10, 10, 2], [40, 10, 1], [60, 10, 0]]], np.float32)
    drawn = tile(grey(keypoints=points), edges=((0, 1), (1, 2)))
    np.testing.assert_array_equal(drawn[40, 40], class_colour(0))
    np.testing.assert_array_equal(drawn[40, 100], class_colour(0))  # on the edge between the two
    np.testing.assert_array_equal(drawn[40, 200], GREY)  # no edge to a keypoint that is not labelled
    assert (drawn[36:45, 236:245] == GREY).all()
    alone = tile(grey(keypoints=points))
    np.testing.assert_array_equal(alone[39, 159], GREY)  # the middle of a ring
    assert (alone[36:44, 156:164] != GREY).any()
    np.testing.assert_array_equal(alone[40, 100], GREY)


def test_an_oriented_box_stands_for_the_upright_one():
    corners = np.array([[[40, 5], [60, 15], [40, 25], [20, 15]]], np.float32)
    drawn = (tile(grey(boxes_xyxy=np.array([[20, 5, 60, 25]], np.float32), corners=corners)) != GREY).any(
        axis=2
    )
    y, x = np.nonzero(drawn)
    # A rhomb around (160, 60), 160 wide and 80 high: |x| / 80 + |y| / 40 is 1 on its sides.
    off = np.abs(np.abs(x + 0.5 - 160) / 80 + np.abs(y + 0.5 - 60) / 40 - 1)
    assert len(off) > 300
    assert off.max() < 0.05
    assert [x.min(), x.max()] == pytest.approx([80, 240], abs=1.5)


def test_letterboxed_labels_move_with_the_image():
    points = np.array([[[10, 10, 2], [0, 0, 0]]], np.float32)
    corners = np.array([[[40, 5], [60, 15], [40, 25], [20, 15]]], np.float32)
    made = grey(masks=(Mask(10, 5, np.ones((2, 3), dtype=bool)),), keypoints=points, corners=corners)
    placed = letterboxed(made, (80, 80))  # 20 rows of padding above and below
    assert placed.masks[0][:2] == (10, 25)
    assert placed.keypoints.tolist() == [[[10, 30, 2], [0, 0, 0]]]
    np.testing.assert_array_equal(placed.corners, corners + np.array([0, 20]))
    plain = letterboxed(grey(), (80, 80))
    assert (plain.masks, plain.keypoints, plain.corners) == (None, None, None)


def test_edges_are_those_of_the_data_sets_skeleton():
    assert edges_of(ScenesDataset(1, 0, (64, 64), "keypoints")) == RAY_SKELETON.edges
    assert edges_of(ScenesDataset(1, 0, (64, 64))) == ()
    assert edges_of(MemoryDataset([grey()])) == ()


CORNERS = np.arange(24, dtype=np.float32).reshape(3, 4, 2)
POINTS = np.concatenate([CORNERS, np.full((3, 4, 1), 2, np.float32)], axis=2)
MASKS = tuple(Mask(8 * place, 4, np.ones((8, 12), dtype=bool)) for place in range(3))


@pytest.mark.parametrize(
    ("collate", "name", "values"),
    [
        (collate_masks, "masks", MASKS),
        (collate_keypoints, "keypoints", POINTS),
        (collate_corners, "corners", CORNERS),
    ],
)
def test_shapes_of_a_batch_go_to_their_own_images(collate, name, values):
    boxes = [[[70, 30, 80, 40]], [], [[1, 2, 9, 9], [5, 5, 80, 40]]]
    parts = (values[:1], values[:0], values[1:])
    made = [
        replace(sample((40, 80), each, [1] * len(each)), **{name: part})
        for each, part in zip(boxes, parts, strict=True)
    ]
    batch = collate(made)
    for place, (one, part) in enumerate(zip(made, parts, strict=True)):
        drawn = batch_sample(batch, place)
        np.testing.assert_array_equal(drawn.image, one.image)
        np.testing.assert_array_equal(drawn.boxes_xyxy, one.boxes_xyxy)
        got = getattr(drawn, name)
        assert len(got) == len(part)
        for each, wanted in zip(got, part, strict=True):
            both = (mask.on((40, 80)) for mask in (each, wanted)) if name == "masks" else (each, wanted)
            np.testing.assert_array_equal(*both)
        others = {"masks", "keypoints", "corners"} - {name}
        assert [getattr(drawn, other) for other in others] == [None, None]


def test_masks_of_a_batch_are_drawn_as_the_loss_sees_them():
    """A cell of 4 x 4 pixels is on if half of its pixels are."""
    mask = Mask(2, 3, np.ones((10, 7), dtype=bool))  # columns 2..8, rows 3..12
    drawn = batch_sample(collate_masks([grey(masks=(mask,))]), 0).masks[0]
    wanted = np.zeros((40, 80), dtype=bool)
    wanted[4:12, 0:8] = True  # of the outer cells: 8 of 16 pixels to the left, 4 below and to the right
    np.testing.assert_array_equal(drawn.on((40, 80)), wanted)


@pytest.mark.parametrize(("task", "labels"), [(SEGMENT, "masks"), (POSE, "keypoints"), (OBB, "corners")])
def test_samples_of_a_training_have_the_shapes_of_its_task(task, labels):
    config = TrainConfig(
        model=model_config(
            f"esmoe-n{TASK_SUFFIXES[task.name]}", ("ray",), (64, 96), skeleton=Skeleton.unnamed(5)
        ),
        train_data=ScenesConfig(),
        epochs=3,
        batch_size=4,
    )
    data = ScenesDataset(8, 0, (64, 96), labels)
    shown = training_samples(data, config, 0, 8)
    with TrainingLoader(data, config, task) as loader:
        batches = list(loader.epoch(0))
    assert sum(len(each.class_ids) for each in shown) > 6
    for place, each in enumerate(shown):
        batch = batches[place // 4]
        wanted = getattr(batch, labels)[batch.image_ids == place % 4].numpy()
        got = getattr(each, labels)
        if labels == "masks":
            got = np.array([mask.on((64, 96))[2::4, 2::4] for mask in got]).reshape(wanted.shape)
        np.testing.assert_array_equal(got, wanted)
