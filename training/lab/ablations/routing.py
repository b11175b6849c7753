"""Measure the rows on routing: mAP with other numbers of experts, and which experts are chosen."""

from dataclasses import dataclass
from pathlib import Path
from statistics import fmean

from training.config import ModelConfig
from training.data_config import DataConfig
from training.evaluate.baseline import nmi_by_layer
from training.evaluate.evaluator import Evaluation
from training.workflows.dataset_config import open_for
from training.workflows.measure import evaluate_detector


@dataclass(frozen=True)
class RoutingFigures:
    """Routing of one run on the validation data; figures by layer are at the model's own top_k."""

    map50_95: dict[str, float]  # 0..1, by number of experts: one, the model's own top_k, all
    dead_experts: dict[str, int]  # number of experts that no image chose, by layer
    commonest_set: dict[str, float]  # share of images that had the commonest set of experts, by layer
    nmi: dict[str, dict[str, float]]  # of set and group, by layer, for each grouping that the data has

    def mean_nmi(self, grouping: str) -> float | None:
        """Return the mean NMI over layers; None: the data has no such groups."""
        found = [shared[grouping] for shared in self.nmi.values() if grouping in shared]
        return fmean(found) if found else None


def measured_top_ks(config: ModelConfig) -> tuple[int, int, int]:
    """Return the top_k values to measure: one expert, the model's own number, all experts."""
    return 1, config.top_k, config.allowed_top_k[-1]


def measure_routing(
    checkpoint: Path, config: ModelConfig, usual: Evaluation, data: DataConfig
) -> RoutingFigures:
    """Return routing figures: evaluate with one and with all experts, take the rest from `usual`.

    `usual` is the evaluation at the model's own top_k.
    """
    map50_95 = {
        str(top_k): (
            usual if top_k == config.top_k else evaluate_detector(checkpoint, data, top_k=top_k)
        ).mean_ap.map50_95
        for top_k in measured_top_ks(config)
    }
    return RoutingFigures(
        map50_95=map50_95,
        dead_experts={use.layer: len(use.dead_experts) for use in usual.experts},
        commonest_set={use.layer: use.commonest_set_share for use in usual.experts},
        nmi=nmi_by_layer(usual.routed, open_for(config, data)),
    )
