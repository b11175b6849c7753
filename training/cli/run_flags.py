"""The flags of a training run. A recipe decides all that is not written; `--help` shows what it decides."""

import argparse
from collections.abc import Callable, Collection
from functools import reduce
from pathlib import Path
from typing import Any, NamedTuple, get_args

from training.cli.data_flags import add_training_data
from training.cli.flags import add_field, add_quiet, read
from training.cli.values import from_zero, in_words, positive, size
from training.config import ComputePrecision, TrainConfig
from training.data_config import ScenesConfig
from training.models.variants import VARIANTS, MixtureChoice
from training.recipes.overrides import Overrides
from training.recipes.recipe_data import RECIPES_WITH_DATA
from training.recipes.recipes import DEFAULT_VARIANT, RECIPES, Request, build_config


class Setting(NamedTuple):
    """A field of TrainConfig that a flag overrides."""

    flag: str
    path: str  # such as optimizer.lr
    metavar: str
    form: Callable[[str], Any] | None  # None: the flag takes no value
    help: str

    @property
    def dest(self) -> str:
        """Where argparse keeps it: beside the options of other flags, such as an export's --precision."""
        return f"override {self.path}"

    @property
    def how(self) -> dict[str, Any]:
        """What argparse is told of the value."""
        if self.path == "precision":
            return {"choices": get_args(ComputePrecision)}
        if self.form is None:
            return {"action": "store_const", "const": () if self.path == "top_ks" else True}
        return {"type": self.form, "metavar": self.metavar}


def _settings(part: str, metavar: str, form: Callable[[str], Any] | None, **meanings: str) -> list[Setting]:
    """Return flags of fields of one part, all alike: by the field's name, what it means."""
    flags = [f"--{name.replace('_', '-')}" for name in meanings]
    return [
        Setting(flag, f"{part}{name}", metavar, form, meaning)
        for flag, (name, meaning) in zip(flags, meanings.items(), strict=True)
    ]


SETTINGS = (
    Setting("--input", "model.input_hw", "SIZE", size, "640 or HEIGHTxWIDTH"),
    Setting("--epochs", "epochs", "N", positive, "passes over the data"),
    Setting("--batch", "batch_size", "N", positive, "images a step"),
    *_settings(
        "optimizer.",
        "RATE",
        float,
        lr="learning rate after warm-up; what it falls to at the end changes with it",
        weight_decay="pull of weights towards 0",
    ),
    Setting("--warmup", "optimizer.warmup_epochs", "EPOCHS", float, "in which the learning rate rises"),
    Setting("--seed", "seed", "N", from_zero, "of weights, order and augmentation"),
    *_settings(
        "loss.",
        "WEIGHT",
        float,
        dfl="of the distribution focal loss; 0: boxes learn from their overlap alone",
        balance="of the loss that asks for equal use of experts; 0: off",
        information="of the loss that asks routers to tell images apart; 0: off",
        coverage="of the loss that asks every expert to have a share; 0: off",
    ),
    *_settings(
        "augment.",
        "P",
        float,
        mosaic="probability that an image stands among three others",
        mixup="probability that a sample is blended with another",
        copy_paste="probability that objects of another image are pasted on",
        flip_horizontal="probability that left and right change places",
        flip_vertical="probability that an image is turned upside down: for those without an up, as of cells",
    ),
    Setting(
        "--close-mosaic",
        "augment.close_mosaic_epochs",
        "N",
        from_zero,
        "the last N epochs are without mosaic, mixup and copy-paste",
    ),
    Setting(
        "--fixed-top-k",
        "top_ks",
        "",
        None,
        "train every image with the same top_k; sparsight's draw their own, so that it runs with any",
    ),
    Setting("--accumulate", "accumulate", "N", int, "pass each batch in N parts, for less memory"),
    Setting(
        "--freeze-bn",
        "freeze_batch_norm",
        "",
        None,
        "batch norm keeps the statistics of --weights, for fine-tuning on few images",
    ),
    Setting(
        "--balance-classes",
        "repeat_threshold",
        "SHARE",
        float,
        "show images of classes that are in fewer than this share of all more often, by the root of SHARE "
        "over theirs; LVIS has 0.001, data of few classes wants more, such as 0.3",
    ),
    Setting(
        "--patience",
        "patience",
        "N",
        int,
        "end after N evaluations without a better mAP50-95; best.safetensors is of the best one, which "
        "train-export then exports; 0: never",
    ),
    Setting(
        "--evaluate-every", "evaluate_every_epochs", "N", positive, "epochs from one evaluation to the next"
    ),
    Setting(
        "--workers", "loader_workers", "N", from_zero, "processes that load images; 0: the one that trains"
    ),
    *_settings(
        "",
        "",
        None,
        deterministic="only algorithms that give the same bits every time; on GPUs slower ones",
        precision="of what is computed; weights stay f32; auto: half if it is quicker",
    ),
)


class _Shown(argparse.Action):
    """A flag that decides what the recipe decides: help that comes after it shows that."""

    def __call__(
        self, parser: argparse.ArgumentParser, namespace: argparse.Namespace, values: Any, flag: Any = None
    ) -> None:
        """Keep it, and show it."""
        setattr(namespace, self.dest, values)
        _show(parser, namespace.recipe, namespace.variant)


def add_settings(parser: argparse.ArgumentParser, flags: Collection[str] | None = None) -> None:
    """Add --recipe and flags that override what it decides; None: all of them."""
    parser.add_argument(
        "--recipe",
        choices=RECIPES,
        action=_Shown,
        default="quick",
        metavar="NAME",
        help="quick: a try in minutes; small-data: a few hundred images, from scratch; paper: 600 epochs, "
        "for large data. With data of their own, whatever the splits say, in the folder that --data names: "
        f"{', '.join(RECIPES_WITH_DATA)} (default: %(default)s)",
    )
    for each in SETTINGS:
        if flags is None or each.flag in flags:
            parser.add_argument(each.flag, dest=each.dest, help=f"{each.help} (%(recipe)s)", **each.how)
    parser.set_defaults(variant=DEFAULT_VARIANT)
    _show(parser, "quick", DEFAULT_VARIANT)


def overrides_of(args: argparse.Namespace) -> Overrides:
    """Return the values that were written, by the path of the field that each overrides."""
    written = {each.path: getattr(args, each.dest, None) for each in SETTINGS}
    return {path: value for path, value in written.items() if value is not None}


def _show(parser: argparse.ArgumentParser, recipe: str, variant: str) -> None:
    """Let the help of each setting say what the recipe decides for this variant."""
    request = Request(class_names=("any",), train_data=ScenesConfig(), variant=variant)
    config = build_config(recipe, request)
    for setting in SETTINGS:
        for action in parser._actions:
            if action.dest == setting.dest:  # the formatter looks up %(recipe)s among the action's attributes
                shown: Any = action
                shown.recipe = f"{recipe}: {_decided(config, setting)}"


def _decided(config: TrainConfig, setting: Setting) -> str:
    value: Any = reduce(getattr, setting.path.split("."), config)
    if setting.path == "top_ks":
        return "off" if value else "on"
    return in_words(value)


def add_run(parser: argparse.ArgumentParser, leave_out: Collection[str] = ()) -> None:
    """Add what is trained, on which images, and every setting.

    Args:
        leave_out: flags that the command has not, or has with a meaning of its own.
    """
    add_settings(parser, [each.flag for each in SETTINGS if each.flag not in leave_out])
    model = parser.add_mutually_exclusive_group()
    model.add_argument(
        "--variant",
        choices=VARIANTS,
        action=_Shown,
        default=DEFAULT_VARIANT,
        metavar="NAME",
        help="default: %(default)s; train --help and variants say which there are",
    )
    if "--like" not in leave_out:
        model.add_argument(
            "--like",
            type=Path,
            metavar="CHECKPOINT",
            help="train a model of this one's shape from its weights, such as a pruned one; instead of "
            "--variant",
        )
    add_field(
        parser,
        MixtureChoice,
        "num_experts",
        "in each mixture layer; default: the variant's",
        "--experts",
        metavar="N",
    )
    add_field(
        parser,
        MixtureChoice,
        "top_k",
        "experts that run for an image; default: the variant's",
        type=from_zero,
        metavar="K",
    )
    for name, meaning in (
        ("placement", "esmoe: where experts stand; default: backbone"),
        ("expert", "what each expert is made of; default: the variant's"),
        ("router", "what scores the experts; default: the variant's"),
    ):
        add_field(parser, MixtureChoice, name, meaning)
    add_training_data(parser, use="train on", val_use="validate on")
    parser.add_argument("--weights", type=Path, help="start from another checkpoint where its tensors fit")
    parser.add_argument("--device", help="cpu, cuda or cuda:1; default: a GPU if there is one")
    parser.add_argument(
        "--tensorboard", action="store_true", help="write curves for TensorBoard into the run's folder"
    )
    add_quiet(parser)


def mixture_of(args: argparse.Namespace) -> MixtureChoice:
    """Return what was written of the mixtures."""
    return read(MixtureChoice, args)
