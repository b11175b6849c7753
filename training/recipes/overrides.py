"""What a user may change of any recipe, as values and as flags."""

import argparse
from dataclasses import asdict, dataclass, replace
from typing import get_args

from training.config import ComputePrecision, TrainConfig
from training.errors import ConfigError
from training.tasks.choose import task_named

LOSS_FIELDS = ("dfl", "balance", "information", "coverage")
ROUTING_FIELDS = ("balance", "information", "coverage", "top_ks")  # only a model with experts has them
AUGMENT_FIELDS = ("mosaic", "mixup", "copy_paste")


@dataclass(frozen=True, kw_only=True)
class TrainingChoice:
    """Fields of LossConfig, of AugmentConfig and of TrainConfig; None leaves one to the recipe."""

    dfl: float | None = None
    balance: float | None = None
    information: float | None = None
    coverage: float | None = None
    mosaic: float | None = None
    mixup: float | None = None
    copy_paste: float | None = None
    accumulate: int | None = None
    freeze_batch_norm: bool | None = None
    repeat_threshold: float | None = None
    patience: int | None = None
    deterministic: bool | None = None
    precision: ComputePrecision | None = None
    top_ks: tuple[int, ...] | None = None  # (): every picture has the model's own


def chosen(config: TrainConfig, choice: TrainingChoice) -> TrainConfig:
    """Raises ConfigError: what was chosen cannot work together, or the model has nothing of the kind."""
    given = {name: value for name, value in asdict(choice).items() if value is not None}
    of_experts = [name for name in ROUTING_FIELDS if name in given]
    if of_experts and not config.model.mixtures:
        raise ConfigError(f"{config.model.variant} has no experts: leave {of_experts[0]} to its recipe")
    idle = [name for name in task_named(config.model.task).without if name in given]
    if idle:
        raise ConfigError(
            f"--{idle[0].replace('_', '-')} means nothing to {config.model.variant}, which is for the task "
            f"{config.model.task}: leave it out"
        )
    loss = {name: given.pop(name) for name in LOSS_FIELDS if name in given}
    augment = {name: given.pop(name) for name in AUGMENT_FIELDS if name in given}
    return replace(
        config, loss=replace(config.loss, **loss), augment=replace(config.augment, **augment), **given
    )


def add_recipe_arguments(parser: argparse.ArgumentParser) -> None:
    """What recipes decide of losses and augmentation."""
    for flag, metavar, meaning in (
        ("--dfl", "WEIGHT", "of the distribution focal loss; 0: boxes learn from their overlap alone"),
        ("--balance", "WEIGHT", "of the loss that asks for equal use of experts; 0: off"),
        ("--information", "WEIGHT", "of the loss that asks routers to tell images apart; 0: off"),
        ("--coverage", "WEIGHT", "of the loss that asks every expert to have a share; 0: off"),
        ("--mosaic", "P", "probability that a picture stands among three others"),
        ("--mixup", "P", "probability that a sample is blended with another"),
        ("--copy-paste", "P", "probability that objects of another picture are pasted on"),
    ):
        parser.add_argument(flag, type=float, metavar=metavar, help=f"{meaning}; default: the recipe's")
    parser.add_argument(
        "--fixed-top-k",
        action="store_const",
        const=(),
        dest="top_ks",
        help="train every picture with the same top_k; sparsight's draw their own, so that it runs with any",
    )


def add_way_arguments(parser: argparse.ArgumentParser, *, precision: bool) -> None:
    """How the training goes on. precision: with that; where one exports too, the name is taken."""
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
    add_balance_argument(parser)
    parser.add_argument(
        "--patience",
        type=int,
        metavar="N",
        help="end after N evaluations without a better mAP50-95 (top-1 of a classifier); best.safetensors is "
        "of the best one, which train-export then exports",
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


def add_balance_argument(parser: argparse.ArgumentParser) -> None:
    """How often pictures are shown."""
    parser.add_argument(
        "--balance-classes",
        type=float,
        dest="repeat_threshold",
        metavar="SHARE",
        help="show pictures of classes that are in fewer than this share of all more often, by the root of "
        "SHARE over theirs; LVIS has 0.001, data of few classes wants more, such as 0.3",
    )


def choice_from(args: argparse.Namespace) -> TrainingChoice:
    """What was given of the flags, those that a command has."""
    names = (*LOSS_FIELDS, *AUGMENT_FIELDS, "accumulate", "freeze_batch_norm", "repeat_threshold", "patience")
    return TrainingChoice(
        **{name: getattr(args, name, None) for name in (*names, "deterministic", "top_ks")},
        precision=args.precision if args.command == "train" else None,  # elsewhere that of an export, or none
    )
