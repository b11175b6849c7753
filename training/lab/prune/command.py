"""The command `python -m training prune`."""

import logging
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from training.errors import ConfigError
from training.files import sha256_of
from training.lab.prune.drop import drop_experts
from training.lab.prune.latency import measure_latency
from training.lab.prune.outcome import Pruning, evaluate_here, side_of
from training.lab.prune.select import Rule, pruned_top_k, select_experts
from training.lab.prune.table import use_table
from training.models.detector import Detector
from training.models.mixture.routing import RoutingControls
from training.trainer.checkpoint import check_output, load_detector, save_model
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
    split: str = "train"  # use is measured on it
    val_split: str = "val"  # mAP is measured on it
    classes: tuple[str, ...] = ()  # of the folder, only these are kept; empty: every class
    recipe: str | None = None  # use the splits of this recipe's own data instead
    latency: bool = True


def prune(options: PruneOptions) -> Pruning:
    """Write a checkpoint without the experts that hardly any image chooses, and measure both models.

    Raises:
        TrainingError: any of its subclasses; nothing was written.
    """
    check_output(options.output)
    model, provenance = load_detector(options.checkpoint)
    top_k = pruned_top_k(model.config, options.rule, options.top_k)
    use_data = training_data(options.data, options.split, options.recipe, options.classes)
    score_data = measured_data(options.data, options.val_split, options.recipe, options.classes)
    measured, scored = (open_for(model.config, data) for data in (use_data, score_data))
    log.info(f"measuring what experts do on {described(use_data)}, {len(measured)} images")
    controls = RoutingControls(top_k, model.config.weight_threshold)
    uses = evaluate_here(model, measured, controls).experts
    kept = select_experts(uses, options.rule, top_k)
    if all(len(kept[place]) == len(layer.experts) for place, layer in model.mixture_layers().items()):
        log.info(use_table(uses, kept))
        every = all(min(use.expert_share) == 1 for use in uses)
        hint = " Every expert runs for every image: have fewer run, with --top-k." if every else ""
        raise ConfigError(f"nothing to drop: {options.rule}, and so all do.{hint} Nothing was written.")
    pruned = drop_experts(model, kept, top_k)
    log.info(f"measuring both on {described(score_data)}, {len(scored)} images")
    before, after = (side_of(each, scored) for each in (model, pruned))
    latency = measure_latency(model, pruned) if options.latency else None
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
    """Return the source file, the rule and the dropped experts, by their numbers in the source file.

    Args:
        use_data: name of the data on which use was measured, without paths, since checkpoints are shared.
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
        f"{result.measured_images} images",
        "pruned experts": shown,
    }
