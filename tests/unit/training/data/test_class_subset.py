"""A class subset keeps the objects of its classes, with new class ids."""

from dataclasses import replace
from types import MappingProxyType

import numpy as np
import pytest

from training.data.class_subset import ChosenClasses, classes_without_objects, joined_by_name
from training.data.labels.remarks import ALIKE
from training.data.labels.rows import ANY_CLASS
from training.data.masks import Mask
from training.data.sample import Sample
from training.data.scenes.scenes import ClassScenesDataset
from training.errors import DatasetError

REGIONS = np.float32([[0, 0, 1, 1], [0, 0, 2, 2], [0, 0, 3, 3]])  # of every class, of b and of c


class ThreeClasses:
    """Image 0 has an object of each class, the last first; image 1 has one of class a."""

    class_names = ("a", "b", "c")
    remarks = MappingProxyType({"crowds, ignored": 2})
    skeleton = None

    def __len__(self):
        return 2

    def load(self, index, fit=None):
        class_ids = np.array([[2, 1, 0], [0]][index])
        boxes = np.float32([[0, 0, side, side] for side in range(1, len(class_ids) + 1)])
        regions = (REGIONS, np.array([ANY_CLASS, 1, 2]))
        image, areas = np.zeros((4, 4, 3), np.uint8), 10.0 * boxes[:, 3]
        return Sample(image, boxes, class_ids, f"{index}", *regions, areas=areas)

    def encoded(self, index):
        return bytes([index])

    def class_ids(self, index):
        return self.load(index).class_ids


def test_objects_of_chosen_classes_stay_with_their_boxes_and_new_numbers():
    chosen = ChosenClasses(ThreeClasses(), ("a", "c"))
    assert (chosen.class_names, len(chosen)) == (("a", "c"), 2)
    sample = chosen.load(0)
    assert sample.class_ids.tolist() == [1, 0]
    assert sample.boxes_xyxy[:, 3].tolist() == [1, 3]
    assert (sample.class_ids.dtype, chosen.encoded(1)) == (np.int64, b"\1")
    assert sample.areas.tolist() == [10, 30]


def test_regions_that_are_ignored_for_another_class_are_left_out():
    sample = ChosenClasses(ThreeClasses(), ("a", "c")).load(0)
    assert sample.ignored_xyxy[:, 2].tolist() == [1, 3]
    assert sample.ignored_class_ids.tolist() == [ANY_CLASS, 1]


def test_what_is_like_a_chosen_class_is_a_region_to_ignore_for_it():
    chosen = ChosenClasses(ThreeClasses(), ("c", "a"), {"b": "a", "a": "c"})  # a is chosen itself
    sample = chosen.load(0)
    assert sample.class_ids.tolist() == [0, 1]
    assert sample.ignored_xyxy[:, 2].tolist() == [1, 3, 2]
    assert sample.ignored_class_ids.tolist() == [ANY_CLASS, 0, 1]
    assert chosen.class_ids(0).tolist() == [0, 1]
    assert dict(chosen.remarks) == {"crowds, ignored": 2, ALIKE: 1}


def test_masks_of_regions_and_of_what_is_like_a_chosen_class_go_with_the_regions():
    data = ThreeClasses()
    loaded = data.load(0)
    masks = [Mask(place, 0, np.ones((1, 1), bool)) for place in range(6)]
    data.load = lambda _, fit=None: replace(loaded, masks=tuple(masks[:3]), ignored_masks=tuple(masks[3:]))
    kept = ChosenClasses(data, ("c", "a"), {"b": "a"}).load(0)
    assert [mask.left for mask in kept.masks] == [0, 2]
    assert [mask.left for mask in kept.ignored_masks] == [3, 5, 1]
    assert ChosenClasses(ThreeClasses(), ("a",)).load(0).ignored_masks is None


def test_what_is_like_a_class_that_is_not_chosen_is_left_out_like_it():
    chosen = ChosenClasses(ThreeClasses(), ("c",), {"b": "a"})
    assert chosen.load(0).ignored_xyxy[:, 2].tolist() == [1, 3]
    assert dict(chosen.remarks) == {"crowds, ignored": 2}


def test_the_order_is_the_chosen_one():
    assert ChosenClasses(ThreeClasses(), ("c", "b", "a")).load(0).class_ids.tolist() == [0, 1, 2]


def test_an_image_without_a_chosen_object_stays_as_background():
    assert ChosenClasses(ThreeClasses(), ("c",)).load(1).boxes_xyxy.shape == (0, 4)


def test_a_class_that_there_is_not_cannot_be_chosen():
    with pytest.raises(DatasetError, match="no class cat, dog among a, b, c"):
        ChosenClasses(ThreeClasses(), ("a", "cat", "dog"))


def test_classes_are_known_as_a_loaded_image_has_them():
    chosen = ChosenClasses(ThreeClasses(), ("c", "a"))
    for index in range(2):
        assert chosen.class_ids(index).tolist() == chosen.load(index).class_ids.tolist()


def test_images_labelled_as_a_whole_stay_if_their_class_is_chosen_under_its_new_number():
    scenes = ClassScenesDataset(10, seed=0, image_hw=(64, 64))  # image i is of class i % 5
    chosen = ChosenClasses(scenes, tuple(reversed(scenes.class_names))[:2], whole_images=True)
    assert [chosen.load(index).image_class for index in range(len(chosen))] == [1, 0, 1, 0]
    assert [chosen.load(index).name for index in range(4)] == [scenes.load(i).name for i in (3, 4, 8, 9)]
    assert [chosen.class_ids(index).tolist() for index in range(4)] == [[1], [0], [1], [0]]


def test_a_model_s_classes_are_joined_by_name_whatever_their_order():
    joined = joined_by_name(ThreeClasses(), ("x", "c", "a", "y"))
    assert joined.class_names == ("x", "c", "a", "y")
    sample = joined.load(0)
    assert sample.class_ids.tolist() == [1, 2]
    assert sample.boxes_xyxy[:, 2].tolist() == [1, 3], "the boxes of c and a"
    assert joined.load(1).class_ids.tolist() == [2]
    assert classes_without_objects(joined) == ["x", "y"]


def test_objects_that_a_model_does_not_know_are_counted_and_the_remarks_stay():
    remarks = joined_by_name(ThreeClasses(), ("a",)).remarks
    left_out = "objects of classes that the model does not know, left out (b, c)"
    assert remarks == {"crowds, ignored": 2, left_out: 2}


def test_a_data_set_with_the_model_s_classes_is_itself():
    data = ThreeClasses()
    assert joined_by_name(data, data.class_names) is data


def test_without_a_class_in_common_both_lists_are_named():
    with pytest.raises(DatasetError, match="labels a, b, c, but the model knows A, d: they have no class in"):
        joined_by_name(ThreeClasses(), ("A", "d"))


def test_whole_images_of_a_class_that_the_model_does_not_know_are_left_out():
    data = ClassScenesDataset(12, seed=0, image_hw=(32, 32))  # classes 0..4 in turn
    joined = joined_by_name(data, ("card", "bird", "disc"))
    classes = [joined.load(index).image_class for index in range(len(joined))]
    assert classes == [2, 0, 2, 0, 2], "disc, card, disc, card, disc"
    assert joined.remarks == {
        "images of classes that the model does not know, left out (ring, fish, star)": 7
    }


def test_whole_images_none_of_which_the_model_knows_are_refused():
    data = ClassScenesDataset(3, seed=0, image_hw=(32, 32))  # disc, ring, fish
    with pytest.raises(
        DatasetError, match="no image has one of the classes that the model knows: card, bird"
    ):
        joined_by_name(data, ("card", "bird"))
