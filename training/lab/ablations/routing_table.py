"""The table on routing: changes that were tried so that sparsight's experts follow image content."""

from collections.abc import Mapping, Sequence
from statistics import fmean

from training.columns import in_markdown
from training.evaluate.routing_report import GOAL_BITS, GOAL_NMI
from training.evaluate.validation import GROUPINGS
from training.lab.ablations.routing import measured_top_ks
from training.lab.ablations.run import Result
from training.lab.ablations.tables import Table, mean_cell, seeds_cell
from training.models.families.choose import parse_variant
from training.models.variants import model_config

GOAL_ONE, GOAL_ALL = 1.0, 0.5  # allowed loss of mAP50-95 in points, with one expert and with all


def routing_markdown(table: Table) -> list[str]:
    """Return the report's section on routing, as lines of Markdown."""
    variant = table.rows[0].variant
    config = model_config(variant, ("any",), (64, 64))
    one, usual, every = measured_top_ks(config)
    kinds = {mixture.router.kind for mixture in config.mixtures.values()}
    family = parse_variant(variant).family
    loss, drawn = family.losses, family.trained_top_ks(config)
    columns = (
        *("row", f"mAP50-95, K = {usual}", f"K = {one}", f"K = {every}", "bits"),
        *(f"layers from {GOAL_BITS:g} bit", "dead experts", "commonest set, %"),
        *(f"NMI with {name}" for name in GROUPINGS),
        "seeds",
    )
    rows = [
        _cells(row.name, runs, (one, usual, every)) for row, runs in zip(table.rows, table.ours, strict=True)
    ]
    return [
        f"## {table.title}",
        "",
        f"{variant} as it is: router {', '.join(kinds)}; "
        f"information {loss.information:g}, coverage {loss.coverage:g}, balance {loss.balance:g}; every "
        f"image of a training step draws its K from {', '.join(map(str, drawn))}. Each other row changes "
        "what it names.",
        "",
        *in_markdown(columns, rows, "l" + "r" * (len(columns) - 1)),
        "",
        f"mAP in percent; in brackets the difference to K = {usual}, in points. The goals: K = {one} at most "
        f"{GOAL_ONE:.1f} below, K = {every} at most {GOAL_ALL:.1f} below; {GOAL_BITS:g} bit in half of the "
        f"layers; no dead expert; NMI of {GOAL_NMI:g} in half of the layers (layer by layer in the JSON). "
        "Bits, share of images with the commonest set, and NMI are means over layers at "
        f"K = {usual}, the dead of all layers are added up; NMI is empty where the data has no such groups.",
    ]


def _cells(name: str, runs: Sequence[Result], top_ks: tuple[int, int, int]) -> list[str]:
    one, usual, every = (str(top_k) for top_k in top_ks)
    mine = [run.routing for run in runs if run.routing is not None]
    bits = [tuple(run.information_bits.values()) for run in runs]
    whole = 0 if len(runs) == 1 else 1  # digits of what is counted
    informed = [sum(each >= GOAL_BITS for each in layers) for layers in bits]
    shared = [[each.mean_nmi(grouping) for each in mine] for grouping in GROUPINGS]
    return [
        name,
        mean_cell([100 * each.map50_95[usual] for each in mine]),
        _beside([each.map50_95 for each in mine], one, usual, GOAL_ONE),
        _beside([each.map50_95 for each in mine], every, usual, GOAL_ALL),
        mean_cell([fmean(layers) for layers in bits], 2),
        f"{mean_cell(informed, whole)} of {len(bits[0])}" if bits else "",
        mean_cell([sum(each.dead_experts.values()) for each in mine], whole),
        mean_cell([100 * fmean(each.commonest_set.values()) for each in mine], 0),
        *(mean_cell([nmi for nmi in found if nmi is not None], 2) for found in shared),
        seeds_cell(runs),
    ]


def _beside(found: Sequence[Mapping[str, float]], top_k: str, usual: str, goal: float) -> str:
    """Return mAP with another number of experts, and its difference from the usual number."""
    if not found:
        return ""
    difference = 100 * fmean(each[top_k] - each[usual] for each in found)
    # Rounded, as 0.30 - 0.29 is a little more than 0.01 in binary.
    missed = "" if round(difference, 6) >= -goal else ", missed"
    return f"{mean_cell([100 * each[top_k] for each in found])} ({difference:+.2f}{missed})"


def routing_fields(table: Table) -> dict[str, object]:
    """Return the table as fields for JSON; goals in points of mAP50-95."""
    goals = {"one_expert_below": GOAL_ONE, "all_experts_below": GOAL_ALL, "bits": GOAL_BITS, "nmi": GOAL_NMI}
    return {"title": table.title, "goals": goals, "rows": table.fields()}
