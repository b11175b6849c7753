"""The readers against published data sets, where a folder of them is at hand."""

import os
from pathlib import Path

import numpy as np
import pytest

from training.config import FolderConfig
from training.data.open import open_dataset

DATA = os.environ.get("SPARSIGHT_DATA")
pytestmark = pytest.mark.skipif(
    DATA is None, reason="SPARSIGHT_DATA does not name a folder with bccd/, aquarium/ and playing_cards/"
)


def opened(name, split):
    return open_dataset(FolderConfig(root=str(Path(DATA) / name), split=split))


def test_bccd_has_its_published_counts():
    train, val = opened("bccd", "train"), opened("bccd", "val")
    assert (len(train), len(val)) == (205, 87)
    assert train.class_names == val.class_names == ("Platelets", "RBC", "WBC")
    assert train.dropped_boxes + val.dropped_boxes == 2  # a known defect of the set


def test_bccd_reads_one_known_file():
    val = opened("bccd", "val")
    names = Path(DATA, "bccd/ImageSets/Main/val.txt").read_text().split()
    train_names = Path(DATA, "bccd/ImageSets/Main/train.txt").read_text().split()
    split, names = (val, names) if "BloodImage_00000" in names else (opened("bccd", "train"), train_names)
    sample = split.load(names.index("BloodImage_00000"))
    assert sample.image.shape == (480, 640, 3)
    np.testing.assert_array_equal(sample.boxes_xyxy[:2], [[260, 177, 491, 376], [78, 336, 184, 435]])
    assert sample.class_ids[:2].tolist() == [2, 1]  # WBC, RBC


def test_aquarium_has_its_published_counts():
    train, valid = opened("aquarium", "train"), opened("aquarium", "val")
    assert (len(train), len(valid)) == (448, 127)
    assert train.class_names == ("fish", "jellyfish", "penguin", "puffin", "shark", "starfish", "stingray")
    samples = [valid.load(index) for index in range(0, 127, 9)]
    assert all((s.boxes_xyxy[:, 2:] <= [s.image.shape[1], s.image.shape[0]]).all() for s in samples)


def test_playing_cards_are_read_with_upper_case_suffixes():
    cards = opened("playing_cards", "train")
    assert len(cards) == 296
    assert cards.class_names == ("ace", "jack", "king", "nine", "queen", "ten")
    sample = cards.load(0)
    assert (sample.name, sample.image.shape) == ("IMG_2385", (504, 378, 3))
    np.testing.assert_array_equal(sample.boxes_xyxy, [[92, 183, 223, 348]])
