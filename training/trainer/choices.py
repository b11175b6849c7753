"""What a user may choose of any recipe's way to train, as flags."""

import argparse
from dataclasses import dataclass, replace
from typing import get_args

from training.config import ComputePrecision, TrainConfig
from training.errors import ConfigError


@dataclass(frozen=True, kw_only=True)
class Choices:
    """Fields of TrainConfig; None leaves one to the recipe."""

    accumulate: int | None = None
    freeze_batch_norm: bool | None = None
    repeat_threshold: float | None = None
    patience: int | None = None
    deterministic: bool | None = None
    precision: ComputePrecision | None = None


def with_choices(config: TrainConfig, choices: Choices) -> TrainConfig:
    """Raises ConfigError: what was chosen cannot work together."""
    return replace(config, **{name: value for name, value in vars(choices).items() if value is not None})


def check_start(config: TrainConfig, *, has_weights: bool) -> None:
    """Raises ConfigError: batch norm would keep the statistics of an untrained model."""
    if config.freeze_batch_norm and not has_weights:
        raise ConfigError("--freeze-bn keeps the statistics of a trained model: give one with --weights")


def add_arguments(parser: argparse.ArgumentParser, *, precision: bool) -> None:
    """The flags. precision: with that of the training; where one exports too, the name is taken."""
    parser.add_argument(
        "--accumulate", type=int, metavar="N", help="pass each batch in N parts, for less memory"
    )
    parser.add_argument(
        "--freeze-bn",
        action="store_true",
        default=None,
        dest="freeze_batch_norm",
        help="batch norm keeps the statistics of --weights, for fine-tuning on few pictures",
    )
    parser.add_argument(
        "--balance-classes",
        type=float,
        dest="repeat_threshold",
        metavar="SHARE",
        help="show pictures of classes that are in fewer than this share of all more often, by the root of "
        "SHARE over theirs; LVIS has 0.001, data of few classes wants more, such as 0.3",
    )
    parser.add_argument(
        "--patience",
        type=int,
        metavar="N",
        help="end after N evaluations without a better mAP50-95; best.safetensors is of the best one",
    )
    parser.add_argument(
        "--deterministic",
        action="store_true",
        default=None,
        help="only algorithms that give the same bits every time; on GPUs slower ones",
    )
    if precision:
        parser.add_argument(
            "--precision",
            choices=get_args(ComputePrecision),
            help="of what is computed; weights stay f32. Default: the recipe's (auto: half if it is quicker)",
        )
    parser.add_argument(
        "--tensorboard", action="store_true", help="write curves for TensorBoard into the run's folder"
    )


def from_arguments(args: argparse.Namespace) -> Choices:
    """What was given of add_arguments."""
    return Choices(
        accumulate=args.accumulate,
        freeze_batch_norm=args.freeze_batch_norm,
        repeat_threshold=args.repeat_threshold,
        patience=args.patience,
        deterministic=args.deterministic,
        precision=args.precision if args.command == "train" else None,  # elsewhere that of an export
    )
