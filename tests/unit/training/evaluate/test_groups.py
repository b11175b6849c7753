"""Groups of images by origin and by number of objects."""

import numpy as np
import pytest

from training.data.combined import CombinedDataset, FoldedDataset
from training.data.open import open_dataset
from training.data_config import ScenesConfig
from training.evaluate.groups import density_groups, group_images, origin_groups


def scenes(images):
    return open_dataset(ScenesConfig(images=images, image_hw=(64, 64)))


class Renamed:
    """Scenes under one class of another name."""

    def __init__(self, images, name):
        self.class_names = (name,)
        self.remarks = {}
        self.skeleton = None
        self._images = images

    def __len__(self):
        return self._images


@pytest.mark.parametrize(
    ("boxes", "ids", "labels"),
    [
        pytest.param([3, 1, 2], [2, 0, 1], ("1 box", "2 boxes", "3 boxes"), id="three images"),
        pytest.param([5, 9], [0, 1], ("5 boxes", "9 boxes"), id="two images"),
        pytest.param(
            [1, 2, 3, 4, 5, 6],
            [0, 0, 1, 1, 2, 2],
            ("1 to 2 boxes", "3 to 4 boxes", "5 to 6 boxes"),
            id="pairs",
        ),
        pytest.param([0, 0, 0, 0, 0, 7], [0, 0, 0, 0, 0, 1], ("0 boxes", "7 boxes"), id="nearly all alike"),
        pytest.param(
            [1, 5, 5, 5, 5, 5], [0, 1, 1, 1, 1, 1], ("1 box", "5 boxes"), id="alike from the second on"
        ),
        # Three of nine have 4 boxes, in the middle; without a rule for ties they would be in two thirds.
        pytest.param(
            [1, 2, 4, 4, 4, 4, 7, 8, 9],
            [0, 0, 1, 1, 1, 1, 2, 2, 2],
            ("1 to 2 boxes", "4 boxes", "7 to 9 boxes"),
            id="ties",
        ),
    ],
)
def test_density(boxes, ids, labels):
    found = density_groups(np.array(boxes))
    assert found.ids.tolist() == ids
    assert (found.name, found.labels) == ("density", labels)


@pytest.mark.parametrize("boxes", [[4], [4, 4, 4], [0, 0]])
def test_as_many_boxes_everywhere_are_no_groups(boxes):
    assert density_groups(np.array(boxes)) is None


def test_images_with_as_many_boxes_are_together_and_more_boxes_are_never_in_a_lower_group():
    rng = np.random.default_rng(0)
    for _ in range(200):
        boxes = rng.integers(rng.integers(2, 30), size=rng.integers(2, 50))
        found = density_groups(boxes)
        if found is None:
            assert len(set(boxes.tolist())) == 1
            continue
        order = np.argsort(boxes, kind="stable")
        assert (np.diff(found.ids[order]) >= 0).all()
        assert len({(boxes_, group) for boxes_, group in zip(boxes, found.ids, strict=True)}) == len(
            set(boxes.tolist())
        )
        assert set(found.ids.tolist()) == set(range(len(found.labels)))


def test_numbers_that_do_not_repeat_make_thirds():
    assert np.bincount(density_groups(np.arange(300)).ids).tolist() == [100, 100, 100]


def test_generated_scenes_come_from_three_kinds():
    found = origin_groups(scenes(5))
    assert found.labels == ("microscope", "aquarium", "table")
    assert found.ids.tolist() == [0, 1, 2, 0, 1]


def test_combined_data_come_from_their_parts():
    whole = CombinedDataset([Renamed(2, "a"), Renamed(1, "b")], ["cells", "fish"])
    found = origin_groups(whole)
    assert (found.name, found.labels, found.ids.tolist()) == ("origin", ("cells", "fish"), [0, 0, 1])


@pytest.mark.parametrize(
    "dataset",
    [
        pytest.param(scenes(1), id="one scene"),
        pytest.param(CombinedDataset([Renamed(2, "a")], ["cells"]), id="one part"),
        pytest.param(FoldedDataset(Renamed(4, "a"), 2, (0,)), id="a folder"),
    ],
)
def test_one_origin_is_no_grouping(dataset):
    assert origin_groups(dataset) is None


def test_a_data_set_has_both_groupings_or_what_there_is():
    names = [grouping.name for grouping in group_images(scenes(4), np.array([1, 2, 3, 4]))]
    assert names == ["origin", "density"]
    assert [grouping.name for grouping in group_images(scenes(4), np.array([2, 2, 2, 2]))] == ["origin"]
    assert group_images(Renamed(2, "a"), np.array([2, 2])) == ()
