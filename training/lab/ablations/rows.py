"""The rows of ablations: what each trains, and of YOLO-Master's what the paper says came out.

Source of those: arXiv:2512.23273, tables 5 to 8, on PASCAL VOC 2007+2012. The rows on routing are ours.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field

from training.models.variants import MixtureChoice
from training.recipes.overrides import Overrides
from training.recipes.recipes import DEFAULT_VARIANT

TABLES = {
    5: "where experts stand",
    6: "number of experts",
    7: "experts chosen for each picture, of four",
    8: "losses: DFL, and the weight of the balance of experts",
}
ROUTING = "routing"  # the table that is ours, beside the numbers of the paper's
PAPER_BUDGET = "PASCAL VOC 2007+2012 (16,500 pictures), 600 epochs at 640 × 640, SGD, batch 256"


@dataclass(frozen=True, kw_only=True)
class Row:
    """What one line of a table trains."""

    name: str
    variant: str = DEFAULT_VARIANT
    mixture: MixtureChoice = field(default_factory=MixtureChoice)
    overrides: Overrides = field(default_factory=dict)

    @property
    def run(self) -> str:
        """The folder of its runs; rows that train the same share one."""
        parts = [
            self.variant,
            self.mixture.placement or "",
            "" if self.mixture.num_experts is None else f"e{self.mixture.num_experts}",
            "" if self.mixture.top_k is None else f"k{self.mixture.top_k}",
            self.mixture.router or "",
            *(
                f"{name}{self.overrides[f'loss.{name}']:g}"
                for name in ("dfl", "balance", "information", "coverage")
                if f"loss.{name}" in self.overrides
            ),
            "fixed-k" if self.overrides.get("top_ks") == () else "",
        ]
        return "-".join(part for part in parts if part)


@dataclass(frozen=True, kw_only=True)
class PaperRow(Row):
    """One line of a table of the paper; its figures are in percent."""

    variant: str = "esmoe-n"
    table: int
    map50_95: float
    map50: float | None = None
    parameters: float | None = None


@dataclass(frozen=True, kw_only=True)
class RoutingRow(Row):
    """sparsight with one of our own choices undone; measured with several numbers of experts."""


# What the paper adopts. Of tables 5 to 7 it does not say which losses they had; table 5 has the very figure
# of the final model in table 1. The baseline has no experts and keeps YOLOv12's DFL.
ADOPTED: Overrides = {"loss.dfl": 0.0, "loss.balance": 1.5}


def _mixture(placement: str = "backbone", experts: int = 4, top_k: int = 2) -> MixtureChoice:
    assert placement in ("backbone", "neck", "both")
    return MixtureChoice(placement=placement, num_experts=experts, top_k=top_k)  # type: ignore[arg-type]


def _placed(name: str, placement: str, parameters: float, map50_95: float) -> PaperRow:
    return PaperRow(
        table=5,
        name=name,
        mixture=_mixture(placement),
        overrides=ADOPTED,
        parameters=parameters,
        map50_95=map50_95,
    )


def _experts(count: int, parameters: float, map50: float, map50_95: float) -> PaperRow:
    return PaperRow(
        table=6,
        name=f"{count} experts",
        mixture=_mixture(experts=count),
        overrides=ADOPTED,
        parameters=parameters,
        map50=map50,
        map50_95=map50_95,
    )


def _chosen(top_k: int, map50: float, map50_95: float) -> PaperRow:
    mixture = _mixture(top_k=top_k)
    return PaperRow(
        table=7, name=f"K = {top_k}", mixture=mixture, overrides=ADOPTED, map50=map50, map50_95=map50_95
    )


def _losses(name: str, dfl: float, balance: float, map50_95: float) -> PaperRow:
    overrides = {"loss.dfl": dfl, "loss.balance": balance}
    return PaperRow(table=8, name=name, mixture=_mixture(), overrides=overrides, map50_95=map50_95)


ROWS = (
    PaperRow(
        table=5,
        name="baseline (no ES-MoE)",
        variant="yolov12-n",
        overrides={"loss.dfl": 1.5},
        parameters=2.63e6,
        map50_95=60.8,
    ),
    _placed("neck only", "neck", 2.49e6, 58.2),
    _placed("backbone only", "backbone", 2.66e6, 62.1),
    _placed("both (full)", "both", 2.76e6, 54.9),
    _experts(2, 2.51e6, 81.4, 61.0),
    _experts(4, 2.76e6, 82.2, 62.3),
    _experts(8, 3.68e6, 82.0, 62.0),
    _chosen(1, 81.1, 61.3),
    _chosen(2, 81.9, 61.8),
    _chosen(3, 81.6, 61.8),
    _chosen(4, 81.6, 61.9),
    _losses("config 1: DFL + MoE 0.5", 1.5, 0.5, 61.9),
    _losses("config 2: MoE 0.5", 0.0, 0.5, 61.9),
    _losses("config 3: DFL + MoE 1.0", 1.5, 1.0, 61.9),
    _losses("config 4: DFL + MoE 1.5", 1.5, 1.5, 61.4),
    _losses("config 5: MoE 1.5", 0.0, 1.5, 62.2),
)


_NO_OBJECTIVE: Overrides = {"loss.information": 0.0, "loss.coverage": 0.0}
ROUTING_ROWS = (
    RoutingRow(name="as it is"),
    RoutingRow(name="no objective for routers", overrides=_NO_OBJECTIVE),
    RoutingRow(name="the paper's balance 1.5 alone", overrides={**_NO_OBJECTIVE, "loss.balance": 1.5}),
    RoutingRow(name="no coverage", overrides={"loss.coverage": 0.0}),
    RoutingRow(name="no information", overrides={"loss.information": 0.0}),
    RoutingRow(name="routers see averages alone", mixture=MixtureChoice(router="pooled")),
    RoutingRow(name="trained with K = 2 alone", overrides={"top_ks": ()}),
)


def rows_of(tables: Sequence[int]) -> tuple[PaperRow, ...]:
    """All rows of these tables of the paper, in the paper's order."""
    return tuple(row for row in ROWS if row.table in tables)


def published_spread() -> tuple[float, ...]:
    """What the paper has for the one model that stands in all four tables, in percent."""
    adopted = next(row.run for row in ROWS if row.table == 6 and row.mixture.num_experts == 4)
    return tuple(row.map50_95 for row in ROWS if row.run == adopted)
