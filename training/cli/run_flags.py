"""The flags of a training run. The recipe decides every setting without a flag; `--help` shows its values."""

import argparse
from collections.abc import Collection
from dataclasses import replace
from functools import reduce
from pathlib import Path
from typing import TYPE_CHECKING, Any, get_type_hints

from training.cli.data_flags import add_training_data
from training.cli.flags import add_fields, add_shared, named, read, value_of
from training.cli.values import from_zero, in_words
from training.config import TrainConfig
from training.data_config import ScenesConfig
from training.models.variants import VARIANTS, MixtureChoice
from training.recipes.overrides import Overrides
from training.recipes.recipe_data import RECIPES_WITH_DATA
from training.recipes.recipes import DEFAULT_VARIANT, RECIPES, Request, build_config

if TYPE_CHECKING:
    from training.workflows.train import TrainOptions

# Fields of TrainConfig that flags override, as add_fields takes them.
SETTINGS = {
    "model.input_hw --input SIZE": "640 or HEIGHTxWIDTH",
    "epochs N": "passes over the data",
    "batch_size --batch N": "images a step",
    "optimizer.lr RATE": "learning rate after warm-up; what it falls to at the end changes with it",
    "optimizer.warmup_epochs --warmup EPOCHS": "in which the learning rate rises",
    "optimizer.weight_decay RATE": "pull of weights towards 0",
    "seed N": "of weights, order and augmentation",
    "loss.dfl WEIGHT": "of the distribution focal loss; 0: boxes learn from their overlap alone",
    "loss.balance WEIGHT": "of the loss that asks for equal use of experts; 0: off",
    "loss.information WEIGHT": "of the loss that asks routers to tell images apart; 0: off",
    "loss.coverage WEIGHT": "of the loss that asks every expert to have a share; 0: off",
    "augment.mosaic P": "probability that an image stands among three others",
    "augment.close_mosaic_epochs --close-mosaic N": "last epochs without mosaic, mixup and copy-paste",
    "augment.mixup P": "probability that a sample is blended with another",
    "augment.copy_paste P": "probability that objects of another image are pasted on",
    "augment.flip_horizontal P": "probability that left and right change places",
    "augment.flip_vertical P": "probability that an image is turned upside down, for those without an "
    "up, as of cells",
    "top_ks --fixed-top-k": "train every image with the same top_k; sparsight draws one, to run with any",
    "accumulate N": "pass each batch in N parts, for less memory",
    "freeze_batch_norm --freeze-bn": "batch norm keeps the statistics of --weights: for fine-tuning on few",
    "repeat_threshold --balance-classes SHARE": "show images of classes that are in fewer than this share of "
    "all more often, by the root of SHARE over theirs; LVIS: 0.001, few classes want more, such as 0.3",
    "patience N": "end after N evaluations without a better mAP50-95 (top-1 of a classifier), 0: never; "
    "best.safetensors is of the best one, which train-export then exports",
    "evaluate_every_epochs --evaluate-every N": "epochs from one evaluation to the next",
    "loader_workers --workers N": "processes that load images; 0: the one that trains",
    "deterministic": "only algorithms that give the same bits every time; on GPUs slower ones",
    "precision": "of what is computed; weights stay f32; auto: half if it is quicker",
}
_FROM_ZERO = ("augment.close_mosaic_epochs", "seed", "patience", "loader_workers")
_PATHS = {flag: path for path, flag, _ in map(named, SETTINGS)}
_OVERRIDE = "override "  # before a path, for argparse: an export's --precision is kept without it


class _Shown(argparse.Action):
    """A flag on which the recipe's values depend: a --help after it shows these values."""

    def __call__(
        self, parser: argparse.ArgumentParser, namespace: argparse.Namespace, values: Any, flag: Any = None
    ) -> None:
        """Store the value, and update the help of all settings."""
        setattr(namespace, self.dest, values)
        _show(parser, namespace.recipe, namespace.variant)


def add_settings(parser: argparse.ArgumentParser, flags: Collection[str]) -> None:
    """Add --recipe, and those of `flags` that override the recipe's settings."""
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
    for written, meaning in SETTINGS.items():
        path, flag, metavar = named(written)
        kind = reduce(lambda part, name: get_type_hints(part)[name], path.split("."), TrainConfig)
        how = value_of(kind, metavar, from_zero if path in _FROM_ZERO else None)
        if path == "top_ks":
            how = {"action": "store_const", "const": ()}
        if flag in flags:
            parser.add_argument(flag, dest=_OVERRIDE + path, help=f"{meaning} (%(recipe)s)", **how)
    parser.set_defaults(variant=DEFAULT_VARIANT)
    _show(parser, "quick", DEFAULT_VARIANT)


def train_options(args: argparse.Namespace) -> "TrainOptions":
    """Return the options of a run on this command line."""
    from training.workflows.train import TrainOptions

    written = {path: getattr(args, _OVERRIDE + path, None) for path in _PATHS.values()}
    overrides: Overrides = {path: value for path, value in written.items() if value is not None}
    options = read(TrainOptions, args, mixture=read(MixtureChoice, args), overrides=overrides)
    return replace(options, val_split=options.val_split or None)


def _show(parser: argparse.ArgumentParser, recipe: str, variant: str) -> None:
    """Make the help of each setting show the recipe's value for this variant."""
    request = Request(class_names=("any",), train_data=ScenesConfig(), variant=variant)
    config = build_config(recipe, request)
    for action in parser._actions:
        path = action.dest.removeprefix(_OVERRIDE)
        if path != action.dest:
            value: Any = reduce(getattr, path.split("."), config)
            shown: Any = action  # the formatter looks up %(recipe)s among its attributes
            shown.recipe = f"{recipe}: {in_words(not value if path == 'top_ks' else value)}"


def add_run(parser: argparse.ArgumentParser, leave_out: Collection[str] = ()) -> None:
    """Add the flags of the model, the images and every setting of a run.

    Args:
        leave_out: flags that the command does not have, or has with another meaning.
    """
    add_settings(parser, _PATHS.keys() - set(leave_out))
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
        like = "train a model of this one's shape from its weights, as of a pruned one; instead of --variant"
        model.add_argument("--like", type=Path, metavar="CHECKPOINT", help=like)
    mixture = {
        "num_experts --experts N": "in each mixture layer; default: the variant's",
        "top_k K": "experts that run for an image; default: the variant's",
        "placement": "esmoe: where experts stand; default: backbone",
        "expert": "what each expert is made of; default: the variant's",
        "router": "what scores the experts; default: the variant's",
    }
    add_fields(parser, MixtureChoice, mixture, top_k=from_zero)
    add_training_data(parser, use="train on", val_use="validate on")
    parser.add_argument("--weights", type=Path, help="start from another checkpoint where its tensors fit")
    parser.add_argument("--device", help="cpu, cuda or cuda:1; default: a GPU if there is one")
    curves = "write curves for TensorBoard into the run's folder"
    parser.add_argument("--tensorboard", action="store_true", help=curves)
    add_shared(parser, "--quiet")
