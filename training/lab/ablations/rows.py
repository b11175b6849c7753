"""The rows of the ablation tables: each has the settings of a training, and the published figures.

Published figures are from arXiv:2512.23273 (YOLO-Master), tables 5 to 8. They were measured on PASCAL VOC
2007+2012. The rows on routing are our own, and have no published figures.
"""

import math
from collections.abc import Collection
from dataclasses import dataclass, field
from typing import Literal

from training.models.variants import MixtureChoice
from training.recipes.overrides import Overrides
from training.recipes.recipes import DEFAULT_VARIANT

TABLES = {
    5: "placement of experts",
    6: "number of experts",
    7: "experts chosen for each image, of four",
    8: "losses: DFL, and the weight of the balance loss",
}
ROUTING = "routing"  # name of our own table
PAPER_BUDGET = "PASCAL VOC 2007+2012 (16,500 images), 600 epochs at 640 × 640, SGD, batch 256"


@dataclass(frozen=True, kw_only=True)
class Row:
    """One row of an ablation table: the settings to train with, and the published figures in percent."""

    name: str
    variant: str = DEFAULT_VARIANT
    mixture: MixtureChoice = field(default_factory=MixtureChoice)
    overrides: Overrides = field(default_factory=dict)
    table: int | None = None  # number in the paper; None: ours, on routing
    map50_95: float = math.nan
    map50: float | None = None
    parameters: float | None = None

    @property
    def run(self) -> str:
        """Return the folder name of the row's runs; rows that train the same model share one folder."""
        choice, overrides = self.mixture, self.overrides
        parts = [self.variant, choice.placement]
        parts += [None if choice.num_experts is None else f"e{choice.num_experts}"]
        parts += [None if choice.top_k is None else f"k{choice.top_k}", choice.router, choice.expert]
        for name in ("dfl", "balance", "information", "coverage"):
            if f"loss.{name}" in overrides:
                parts.append(f"{name}{overrides[f'loss.{name}']:g}")
        parts += ["fixed-k"] if overrides.get("top_ks") == () else []
        return "-".join(part for part in parts if part)


def _row(
    table: int,
    name: str,
    map50_95: float,
    *,
    placement: Literal["backbone", "neck", "both"] = "backbone",
    experts: int = 4,
    top_k: int = 2,
    losses: tuple[float, float] = (0.0, 1.5),
    **others: float,
) -> Row:
    """Return a row of the paper; `losses` are the weights of the DFL and the balance loss.

    The defaults are the settings of the paper's final model. The paper does not state the weights of the
    losses for tables 5 to 7. We use the weights of the final model there, because the final model's figure
    in table 1 is also in table 5.
    """
    mixture = MixtureChoice(placement=placement, num_experts=experts, top_k=top_k)
    overrides = {"loss.dfl": losses[0], "loss.balance": losses[1]}
    found = {"table": table, "map50_95": map50_95, **others}
    return Row(name=name, variant="esmoe-n", mixture=mixture, overrides=overrides, **found)  # type: ignore[arg-type]


ROWS = (
    Row(  # it has no experts and keeps YOLOv12's DFL
        table=5,
        name="baseline (no ES-MoE)",
        variant="yolov12-n",
        overrides={"loss.dfl": 1.5},
        parameters=2.63e6,
        map50_95=60.8,
    ),
    _row(5, "neck only", 58.2, placement="neck", parameters=2.49e6),
    _row(5, "backbone only", 62.1, parameters=2.66e6),
    _row(5, "both (full)", 54.9, placement="both", parameters=2.76e6),
    _row(6, "2 experts", 61.0, experts=2, parameters=2.51e6, map50=81.4),
    _row(6, "4 experts", 62.3, experts=4, parameters=2.76e6, map50=82.2),
    _row(6, "8 experts", 62.0, experts=8, parameters=3.68e6, map50=82.0),
    _row(7, "K = 1", 61.3, top_k=1, map50=81.1),
    _row(7, "K = 2", 61.8, top_k=2, map50=81.9),
    _row(7, "K = 3", 61.8, top_k=3, map50=81.6),
    _row(7, "K = 4", 61.9, top_k=4, map50=81.6),
    _row(8, "config 1: DFL + MoE 0.5", 61.9, losses=(1.5, 0.5)),
    _row(8, "config 2: MoE 0.5", 61.9, losses=(0.0, 0.5)),
    _row(8, "config 3: DFL + MoE 1.0", 61.9, losses=(1.5, 1.0)),
    _row(8, "config 4: DFL + MoE 1.5", 61.4, losses=(1.5, 1.5)),
    _row(8, "config 5: MoE 1.5", 62.2, losses=(0.0, 1.5)),
)

# In each row, one of the design choices of sparsight is undone; measured with several numbers of experts. The
# last row is dynamic convolution: the average of all kernels is run once, at the cost of one expert.
_NO_OBJECTIVE: Overrides = {"loss.information": 0.0, "loss.coverage": 0.0}
ROUTING_ROWS = (
    Row(name="unchanged"),
    Row(name="no objective for routers", overrides=_NO_OBJECTIVE),
    Row(name="the paper's balance 1.5 alone", overrides={**_NO_OBJECTIVE, "loss.balance": 1.5}),
    Row(name="no coverage", overrides={"loss.coverage": 0.0}),
    Row(name="no information", overrides={"loss.information": 0.0}),
    Row(name="routers see averages alone", mixture=MixtureChoice(router="pooled")),
    Row(name="trained with K = 2 alone", overrides={"top_ks": ()}),
    Row(name="kernels averaged, run once", mixture=MixtureChoice(expert="dynamic")),
)


def rows_of(tables: Collection[int]) -> tuple[Row, ...]:
    """Return all rows of the paper's tables with the numbers in `tables`, in the paper's order."""
    return tuple(row for row in ROWS if row.table in tables)


def published_spread() -> tuple[float, ...]:
    """Return the paper's four figures, in percent, for the one model that is in all four tables."""
    adopted = next(row.run for row in ROWS if row.table == 6 and row.mixture.num_experts == 4)
    return tuple(row.map50_95 for row in ROWS if row.run == adopted)
