"""Parts of a data set, and several data sets as one: images and classes keep their order."""

import numpy as np
import pytest

from training.data.combined import CombinedDataset, FoldedDataset
from training.data.labels.remarks import NO_AREA
from training.data.labels.rows import ANY_CLASS
from training.data.sample import Sample
from training.data_config import CombinedConfig, FolderConfig
from training.errors import ConfigError, DatasetError


class Numbered:
    """Images whose grey is their number, each with one object of each class."""

    def __init__(self, count, class_names):
        self.class_names = class_names
        self.remarks = {NO_AREA: count}
        self.skeleton = None
        self.count = count

    def __len__(self):
        return self.count

    def load(self, index, fit=None):
        classes = np.arange(len(self.class_names))
        boxes = np.tile(np.float32([0, 0, 2, 2]), (len(classes), 1))
        image = np.full((2, 2, 3), index, np.uint8)
        regions = np.float32([[0, 0, 1, 1], [1, 1, 2, 2]])
        return Sample(image, boxes, classes, f"{index}", regions, np.array([ANY_CLASS, 0]))

    def encoded(self, index):
        return bytes([index])

    def class_ids(self, index):
        return self.load(index).labelled_classes


@pytest.mark.parametrize(
    ("kept", "expected"), [((0,), [0, 3, 6]), ((1, 2), [1, 2, 4, 5]), ((0, 1, 2), [0, 1, 2, 3, 4, 5, 6])]
)
def test_images_are_dealt_to_folds_in_turn(kept, expected):
    folded = FoldedDataset(Numbered(7, ("a",)), 3, kept)
    assert [folded.load(index).image[0, 0, 0] for index in range(len(folded))] == expected
    assert [folded.encoded(index) for index in range(len(folded))] == [bytes([each]) for each in expected]


def test_a_fold_without_images_is_refused():
    with pytest.raises(DatasetError, match="2 images leave none in fold"):
        FoldedDataset(Numbered(2, ("a",)), 3, (2,))


@pytest.mark.parametrize("kept", [(), (3,), (-1,)])
def test_folds_that_there_are_not_are_refused(kept):
    with pytest.raises(ConfigError, match="kept="):
        FolderConfig(root="x", folds=3, kept=kept)


def test_parts_follow_one_another_and_so_do_their_classes():
    whole = CombinedDataset([Numbered(2, ("a", "b")), Numbered(3, ("c",))], ["first", "second"])
    assert whole.class_names == ("a", "b", "c")
    samples = [whole.load(index) for index in range(len(whole))]
    assert [sample.name for sample in samples] == ["first/0", "first/1", "second/0", "second/1", "second/2"]
    assert [sample.class_ids.tolist() for sample in samples] == [[0, 1]] * 2 + [[2]] * 3
    assert [sample.ignored_class_ids.tolist() for sample in samples] == [[-1, 0]] * 2 + [[-1, 2]] * 3
    assert whole.remarks == {NO_AREA: 5}
    assert [whole.origin_of(index) for index in range(5)] == [0, 0, 1, 1, 1]
    assert [whole.encoded(index) for index in range(5)] == [b"\0", b"\1", b"\0", b"\1", b"\2"]


@pytest.mark.parametrize("index", [-1, 5])
def test_there_is_nothing_before_the_first_or_after_the_last_image(index):
    whole = CombinedDataset([Numbered(2, ("a", "b")), Numbered(3, ("c",))], ["first", "second"])
    with pytest.raises(IndexError):
        whole.load(index)


def test_two_classes_of_one_name_are_refused_and_named():
    with pytest.raises(DatasetError, match="first, second have a class called fish"):
        CombinedDataset([Numbered(1, ("fish", "b")), Numbered(1, ("fish",))], ["first", "second"])


def test_nothing_cannot_be_combined():
    with pytest.raises(ConfigError, match="needs a folder"):
        CombinedConfig(parts=())


def test_parts_that_share_their_classes_keep_their_numbers():
    parts = [Numbered(1, ("a", "b")), Numbered(2, ("a", "b"))]
    whole = CombinedDataset(parts, ["first", "second"], shared_classes=True)
    assert whole.class_names == ("a", "b")
    samples = [whole.load(index) for index in range(len(whole))]
    assert [sample.name for sample in samples] == ["first/0", "second/0", "second/1"]
    assert [sample.class_ids.tolist() for sample in samples] == [[0, 1]] * 3


@pytest.mark.parametrize("others", [("b", "a"), ("a",), ("a", "b", "c"), ("a", "B")])
def test_parts_that_do_not_share_all_classes_in_one_order_are_refused(others):
    with pytest.raises(DatasetError, match=r"first has the classes \['a', 'b'\], but second has"):
        CombinedDataset(
            [Numbered(1, ("a", "b")), Numbered(1, others)], ["first", "second"], shared_classes=True
        )
