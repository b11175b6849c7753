"""Finds the list or label file of a split among the files of a data set."""

import re
from collections.abc import Iterable, Mapping
from typing import TypeVar

from training.data.images.image_file import VALIDATION, split_names

Entry = TypeVar("Entry")
WORDS = frozenset({"train", "training", "trainval", *VALIDATION, "test", "testing"})  # names of splits


def words_of(name: str) -> frozenset[str]:
    """Return the words in a name, in lower case and without digits; `train2017` gives `train`."""
    return frozenset(re.findall(r"[a-z]+", name.lower()))


def folder_of_split(folders: Iterable[str], split: str) -> str:
    """Return the first folder of a path that is named after a split; "" if there is none."""
    return next((each for each in folders if each == split or not words_of(each).isdisjoint(WORDS)), "")


def entry_of(split: str, there: Mapping[str, Entry]) -> Entry | None:
    """Return the entry in `there` whose name fits a split; None if no entry or several entries fit.

    A name fits if it is the name of the split, or contains it as a word: `train2017` and `my_train` fit
    `train`. `val`, `valid` and `validation` mean the same split. If there is only one entry, and its name
    contains no word for any split, as in `default` or `result`, this entry is taken as `train`.
    """
    names = split_names(split)
    for name in names:
        if name in there:
            return there[name]
    fitting = [name for name in there if not words_of(name).isdisjoint(names)]
    if not fitting and split == "train" and len(there) == 1:
        fitting = [name for name in there if words_of(name).isdisjoint(WORDS)]
    return there[fitting[0]] if len(fitting) == 1 else None
