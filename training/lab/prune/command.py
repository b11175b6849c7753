"""What `python -m training prune` does."""

import argparse
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path

from training.argument_types import from_0_to_1, positive
from training.errors import ConfigError
from training.evaluate.evaluator import evaluate
from training.files import sha256_of
from training.lab.prune.drop import drop_experts
from training.lab.prune.latency import measure_latency
from training.lab.prune.outcome import Pruning, evaluate_here, side_of
from training.lab.prune.select import Rule, pruned_top_k, select_experts
from training.lab.prune.table import use_table
from training.models.detector import Detector
from training.models.mixture.routing import RoutingControls
from training.recipes.data_arguments import add_recipe_data, add_training_data
from training.trainer.checkpoint import check_output, load_detector, save_model
from training.trainer.loop import compute_device
from training.workflows.dataset_config import data_name, described, measured_data, open_for, training_data

Say = Callable[[str], None]

EXAMPLES = """
Use is measured on the pictures that the model was trained on, and mAP on others: to choose experts by the
validation split and then report its mAP would be tuning. Pictures that chose none of the dropped experts are
answered as before; the others get the next best of those that stay.

examples:
  python -m training prune runs/cells/model.safetensors --data bccd --keep 3 --output cells-3.safetensors
      the three most used experts of each layer stay
  python -m training prune runs/cells/model.safetensors --data bccd --min-share 0.05 --output few.safetensors
      experts go that fewer than one picture in twenty chose; layers may end with different numbers
  python -m training prune converted.safetensors --data folder --top-k 2 --keep 2 --output two.safetensors
      a model that runs every expert for every picture: from now on two, and only those two are kept
  python -m training prune runs/voc/model.safetensors --recipe voc --data data/voc --keep 3 \\
      --output voc-3.safetensors
      trained by a recipe with data of its own: what it trains on chooses, what it validates on scores
  python -m training train --like cells-3.safetensors --data bccd --recipe small-data --run runs/cells-3
      and train what is left a little more
"""


@dataclass(frozen=True, kw_only=True)
class PruneOptions:
    """What `prune` takes."""

    checkpoint: Path
    output: Path
    rule: Rule
    top_k: int | None = None  # None: the checkpoint's
    data: Path | None = None  # None: generated scenes
    split: str = "train"  # use is measured on it
    val_split: str = "val"  # mAP is measured on it
    recipe: str | None = None  # takes the splits of this recipe's own data instead
    latency: bool = True


def prune(options: PruneOptions, *, quiet: bool, say: Say) -> Pruning:
    """Drop the experts that pictures hardly choose, write what is left, and measure both.

    Raises:
        TrainingError: any of its children; nothing was written.
    """
    check_output(options.output)
    model, provenance = load_detector(options.checkpoint)
    top_k = pruned_top_k(model.config, options.rule, options.top_k)
    use_data = training_data(options.data, options.split, options.recipe)
    score_data = measured_data(options.data, options.val_split, options.recipe)
    measured, scored = (open_for(model.config, data) for data in (use_data, score_data))
    say(f"measuring what experts do on {described(use_data)}, {len(measured)} pictures")
    controls = RoutingControls(top_k, model.config.weight_threshold)
    uses = evaluate(model.to(compute_device()), measured, controls=controls, quiet=quiet).experts
    model.cpu()
    kept = select_experts(uses, options.rule, top_k)
    if all(len(kept[place]) == len(layer.experts) for place, layer in model.mixture_layers().items()):
        say(use_table(uses, kept))
        every = all(min(use.expert_share) == 1 for use in uses)
        hint = " Every expert runs for every picture: have fewer run, with --top-k." if every else ""
        raise ConfigError(f"nothing to drop: {options.rule}, and so all do.{hint} Nothing was written.")
    pruned = drop_experts(model, kept, top_k)
    say(f"measuring both on {described(score_data)}, {len(scored)} pictures")
    before, after = (side_of(each, evaluate_here(each, scored, quiet=quiet)) for each in (model, pruned))
    latency = measure_latency(model, pruned, quiet=quiet, say=say) if options.latency else None
    result = Pruning(
        variant=model.config.variant,
        rule=str(options.rule),
        measured_on=described(use_data),
        measured_images=len(measured),
        measured_top_k=top_k,
        uses=uses,
        kept=kept,
        scored_on=described(score_data),
        scored_images=len(scored),
        before=before,
        after=after,
        weight_threshold=model.config.weight_threshold,
        latency=latency,
        output=options.output,
    )
    origin = _provenance(options, model, result, data_name(use_data))
    save_model(options.output, pruned, {**provenance, **origin})
    return result


def _provenance(options: PruneOptions, model: Detector, result: Pruning, use_data: str) -> Mapping[str, str]:
    """From which file, by which measurement, what was dropped: expert numbers are that file's.

    Args:
        use_data: on what use was measured, without the folders of this machine: the file is given to others.
    """
    dropped = {
        place: [expert for expert in range(len(layer.experts)) if expert not in result.kept[place]]
        for place, layer in model.mixture_layers().items()
    }
    shown = "; ".join(f"{place} {', '.join(map(str, ids))}" for place, ids in dropped.items() if ids)
    return {
        "pruned from": options.checkpoint.name,
        "pruned from sha256": sha256_of(options.checkpoint),
        "pruned by": f"{result.rule}; use at top_k {result.measured_top_k} on {use_data}, "
        f"{result.measured_images} pictures",
        "pruned experts": shown,
    }


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The flags of `prune`, and what they teach."""
    parser.description = (
        "Write a checkpoint without the experts that hardly any picture chooses, and say what that changes: "
        "parameters, GFLOPs, mAP, time."
    )
    parser.epilog = EXAMPLES
    parser.formatter_class = argparse.RawDescriptionHelpFormatter
    parser.add_argument("checkpoint", type=Path, help="model.safetensors")
    parser.add_argument("--output", type=Path, required=True, help="a .safetensors file; replaces nothing")
    rule = parser.add_mutually_exclusive_group(required=True)
    rule.add_argument("--keep", type=positive, metavar="N", help="the N most used experts of each layer stay")
    rule.add_argument(
        "--min-share",
        type=from_0_to_1,
        metavar="S",
        help="experts go that fewer than this share of pictures chose, such as 0.05; top_k of a layer stay",
    )
    parser.add_argument(
        "--top-k",
        type=positive,
        metavar="K",
        help="experts that run for a picture, in measuring use and from now on; default: the checkpoint's",
    )
    add_training_data(parser, use="measure use on", val_use="measure mAP on")
    add_recipe_data(parser, "measure use on what this recipe trains on, and mAP on what it validates on,")
    parser.add_argument("--no-latency", action="store_true", help="do not time both, which takes minutes")
    parser.add_argument("--json", action="store_true", help="print JSON")
    parser.add_argument("--quiet", action="store_true", help="no progress bar")


def options_from(args: argparse.Namespace) -> PruneOptions:
    """What was written on the command line."""
    return PruneOptions(
        checkpoint=args.checkpoint,
        output=args.output,
        rule=Rule(keep=args.keep, min_share=args.min_share),
        top_k=args.top_k,
        data=args.data,
        split=args.split,
        val_split=args.val_split,
        recipe=args.recipe,
        latency=not args.no_latency,
    )
