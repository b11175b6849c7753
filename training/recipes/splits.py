"""What a recipe that has data of its own trains and is measured on."""

from typing import NamedTuple

from training.data_config import DataConfig


class Splits(NamedTuple):
    """Training data, and the data that figures are of."""

    train: DataConfig
    val: DataConfig
