"""The command `python -m training prune`."""

import logging
from dataclasses import dataclass, replace
from pathlib import Path

from training.data_config import AS_FOUND, Reading
from training.errors import ConfigError
from training.files import sha256_of
from training.lab.prune.latency import measure_latency
from training.lab.prune.outcome import Pruning, evaluate_here, side_of
from training.lab.prune.select import Rule, drop_experts, pruned_top_k, select_experts
from training.lab.prune.table import use_table
from training.models.mixture.routing import RoutingControls
from training.trainer.checkpoint import check_output, find_checkpoint, load_detector, save_model
from training.workflows.dataset_config import data_name, described, measured_data, open_for, training_data

log = logging.getLogger(__name__)


@dataclass(frozen=True, kw_only=True)
class PruneOptions:
    """The options of `prune`."""

    checkpoint: Path
    output: Path
    rule: Rule
    top_k: int | None = None  # None: the checkpoint's
    data: Path | None = None  # None: generated scenes
    split: str = "train"  # split on which the use of experts is measured
    val_split: str = "val"  # split on which mAP is measured
    classes: tuple[str, ...] = ()  # keep only these classes of the folder; empty: every class
    reading: Reading = AS_FOUND
    recipe: str | None = None  # use this recipe's own splits instead
    latency: bool = True


def prune(options: PruneOptions) -> Pruning:
    """Write a checkpoint without the least chosen experts, and measure the model before and after.

    Raises:
        TrainingError: any step failed, and no file was written. The subclass of the error shows the kind of
            failure.
    """
    check_output(options.output)
    options = replace(options, checkpoint=find_checkpoint(options.checkpoint))
    model, provenance = load_detector(options.checkpoint)
    top_k = pruned_top_k(model.config, options.rule, options.top_k)
    selection = (options.recipe, options.classes, options.reading)
    val_split = options.split if options.reading.hold_out else options.val_split
    use_data = training_data(options.data, options.split, *selection)
    score_data = measured_data(options.data, val_split, *selection)
    measured, scored = (open_for(model.config, data) for data in (use_data, score_data))
    log.info(f"measuring the use of experts on {described(use_data)}, {len(measured)} images")
    controls = RoutingControls(top_k, model.config.weight_threshold)
    uses = evaluate_here(model, measured, controls).experts
    kept = select_experts(uses, options.rule, top_k)
    if all(len(kept[place]) == len(layer.experts) for place, layer in model.mixture_layers().items()):
        log.info(use_table(uses, kept))
        every = all(min(use.expert_share) == 1 for use in uses)
        hint = " Every expert runs for every image: let fewer run, with --top-k." if every else ""
        raise ConfigError(f"nothing to drop: the rule is to {options.rule}.{hint} Nothing was written.")
    pruned = drop_experts(model, kept, top_k)
    log.info(f"measuring both models on {described(score_data)}, {len(scored)} images")
    before, after = (side_of(each, scored) for each in (model, pruned))
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
        latency=measure_latency(model, pruned) if options.latency else None,
        output=options.output,
    )
    dropped = {
        place: [str(expert) for expert in range(len(layer.experts)) if expert not in kept[place]]
        for place, layer in model.mixture_layers().items()
    }
    origin = {  # names without paths, because checkpoints are shared; experts as numbered in the source file
        "pruned from": options.checkpoint.name,
        "pruned from sha256": sha256_of(options.checkpoint),
        "pruned by": f"{options.rule}; use at top_k {top_k} on {data_name(use_data)}, {len(measured)} images",
        "pruned experts": "; ".join(f"{place} {', '.join(ids)}" for place, ids in dropped.items() if ids),
    }
    save_model(options.output, pruned, {**provenance, **origin})
    return result
