"""The flags of a training run. If a flag is left out, the recipe's value applies; `--help` shows it."""

import argparse
from collections.abc import Collection
from dataclasses import replace
from functools import reduce
from pathlib import Path
from typing import TYPE_CHECKING, Any, get_type_hints

from training.cli.data_flags import add_training_data
from training.cli.flags import CHECKPOINT, add_fields, add_shared, named, read, value_of
from training.cli.values import from_zero, in_words
from training.config import TrainConfig
from training.data_config import Reading, ScenesConfig
from training.models.variants import VARIANTS, MixtureChoice
from training.recipes.overrides import Overrides
from training.recipes.recipe_data import RECIPES_WITH_DATA
from training.recipes.recipes import DEFAULT_VARIANT, RECIPES, Request, build_config
from training.skeleton import Skeleton

if TYPE_CHECKING:
    from training.workflows.train import TrainOptions

# Fields of TrainConfig that flags override; the keys are those of add_fields.
SETTINGS = {
    "model.input_hw --input SIZE": "model input, 640 or HEIGHTxWIDTH",
    "epochs N": "passes over the data",
    "batch_size --batch N": "images per step",
    "optimizer.lr RATE": "learning rate after the warm-up; the final learning rate scales with it",
    "optimizer.warmup_epochs --warmup EPOCHS": "epochs in which the learning rate rises",
    "optimizer.weight_decay RATE": "weight decay",
    "seed N": "seed of weights, order and augmentation",
    "loss.dfl WEIGHT": "weight of the distribution focal loss; at 0, boxes learn only from their overlap",
    "loss.balance WEIGHT": "weight of the loss that balances the use of experts; 0: off",
    "loss.information WEIGHT": "weight of the loss that makes routers tell images apart; 0: off",
    "loss.coverage WEIGHT": "weight of the loss that gives each expert a share of the images; 0: off",
    "loss.path_information WEIGHT": "the same for the choice of a path, in variants sparsight-path",
    "loss.path_coverage WEIGHT": "weight of the loss that gives each path a share of the images; 0: off",
    "soft_paths SHARE": "share of the run in which paths are mixed, less and less, until each image has one",
    "augment.mosaic P": "probability that a sample is a mosaic of four images",
    "augment.close_mosaic_epochs --close-mosaic N": "the last N epochs have no mosaic, mixup or copy-paste",
    "augment.mixup P": "probability that a sample is blended with another",
    "augment.copy_paste P": "probability that objects of another image are pasted on",
    "augment.flip_horizontal P": "probability of a horizontal flip",
    "augment.flip_vertical P": "probability of a vertical flip; for images without an upright direction, "
    "such as cells",
    "top_ks --fixed-top-k": "train all images with the same top_k; otherwise, sparsight draws one for each",
    "accumulate N": "compute each batch in N parts, to save memory",
    "freeze_batch_norm --freeze-bn": "keep the batch norm statistics of --weights; useful for few images",
    "repeat_threshold --balance-classes SHARE": "show images of rare classes more often: by "
    "sqrt(SHARE / s) for a class in a share s < SHARE of the images; 0.001 for LVIS, 0.3 for few classes",
    "patience N": "end after N evaluations without a better mAP50-95 or top-1; 0: never. best.safetensors "
    "holds the best model, which train-export exports",
    "evaluate_every_epochs --evaluate-every N": "epochs from one evaluation to the next",
    "loader_workers --workers N": "processes that load images, each with two batches in memory: give more if "
    "a GPU waits for images, fewer if memory is short; 0: the training process loads them; auto: one less "
    "than the cores that this process may use, 1 to 8",
    "deterministic": "use only algorithms with bit-identical results, which are slower on GPUs",
    "precision": "precision of computing; weights stay f32; auto: 16 bits if that is faster",
}
_FROM_ZERO = ("augment.close_mosaic_epochs", "seed", "patience", "loader_workers")
_PATHS = {flag: path for path, flag, _ in map(named, SETTINGS)}
_OVERRIDE = "override "  # prefix of a path in argparse, to tell it from the --precision of an export


class _Shown(argparse.Action):
    """The argparse action of --recipe and --variant.

    If --help follows on the command line, it shows the settings of the selected recipe and variant.
    """

    def __call__(
        self, parser: argparse.ArgumentParser, namespace: argparse.Namespace, values: Any, flag: Any = None
    ) -> None:
        """Store the value, and put the values of the selected recipe into the help of all settings."""
        setattr(namespace, self.dest, values)
        _show(parser, namespace.recipe, namespace.variant)


def add_settings(parser: argparse.ArgumentParser, flags: Collection[str]) -> None:
    """Add --recipe, and the flags in `flags`, each of which overrides a setting of the recipe."""
    about = (
        "quick: a trial in minutes; small-data: a few hundred images, from scratch; paper: 600 epochs, for "
        f"large data. With their own data and splits in the folder --data: {', '.join(RECIPES_WITH_DATA)}"
    )
    shown: Any = {
        "choices": RECIPES,
        "action": _Shown,
        "metavar": "NAME",
        "help": f"{about} (default: quick)",
    }
    parser.add_argument("--recipe", default="quick", **shown)
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
    """Return the options of a training run that this command line sets."""
    from training.workflows.train import TrainOptions

    written = {path: getattr(args, _OVERRIDE + path, None) for path in _PATHS.values()}
    overrides: Overrides = {path: value for path, value in written.items() if value is not None}
    parts = {"mixture": read(MixtureChoice, args), "reading": read(Reading, args)}
    options = read(TrainOptions, args, overrides=overrides, **parts)
    return replace(options, val_split=options.val_split or None)


def _show(parser: argparse.ArgumentParser, recipe: str, variant: str) -> None:
    """Put the value that `recipe` has for `variant` into the help of each setting."""
    some = Skeleton.unnamed(1)  # no setting depends on the number of keypoints
    request = Request(class_names=("any",), train_data=ScenesConfig(), variant=variant, skeleton=some)
    config = build_config(recipe, request)
    for action in parser._actions:
        path = action.dest.removeprefix(_OVERRIDE)
        if path != action.dest:
            value: Any = reduce(getattr, path.split("."), config)
            shown: Any = action  # the formatter looks up %(recipe)s among its attributes
            shown.recipe = f"{recipe}: {in_words(not value if path == 'top_ks' else value)}"


def add_run(parser: argparse.ArgumentParser, leave_out: Collection[str] = ()) -> None:
    """Add the flags of the model, the images and every setting of a run, except the flags in leave_out."""
    add_settings(parser, _PATHS.keys() - set(leave_out))
    model = parser.add_mutually_exclusive_group()
    names = "model; `train --help` lists all (default: %(default)s)"
    shown: Any = {"choices": VARIANTS, "action": _Shown, "metavar": "NAME", "help": names}
    model.add_argument("--variant", default=DEFAULT_VARIANT, **shown)
    if "--like" not in leave_out:
        like = "instead of --variant: take model and weights from a checkpoint, such as a pruned one"
        model.add_argument("--like", type=Path, metavar="CHECKPOINT", help=like)
    usual = "default: as in the variant"
    mixture = {
        "num_experts --experts N": f"number of experts in each mixture layer; {usual}",
        "top_k K": f"experts that run for an image; {usual}",
        "placement": "variants esmoe: place of the mixture layers; default: backbone",
        "expert": f"kind of the experts; {usual}",
        "router": f"kind of the routers; {usual}",
        "paths N": f"variants sparsight-path: number of paths to choose from; {usual}",
    }
    add_fields(parser, MixtureChoice, mixture, top_k=from_zero)
    add_training_data(parser, use="train on", val_use="validate on")
    parser.add_argument("--weights", type=Path, help=f"start from the tensors that fit of: {CHECKPOINT}")
    parser.add_argument("--device", help="cpu, cuda or cuda:1; default: a GPU if there is one")
    curves = "write curves for TensorBoard into the run's folder"
    parser.add_argument("--tensorboard", action="store_true", help=curves)
    add_shared(parser, "--quiet")
