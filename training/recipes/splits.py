"""The training and validation data of a recipe that has its own data set."""

from typing import NamedTuple

from training.data_config import DataConfig


class Splits(NamedTuple):
    """The data to train on, and the data to evaluate on."""

    train: DataConfig
    val: DataConfig
