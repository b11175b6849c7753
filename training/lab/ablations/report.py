"""Write Markdown and JSON tables: the paper's figures beside ours, and our own table on routing."""

import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from functools import cache
from pathlib import Path
from statistics import fmean, stdev
from typing import NamedTuple

from training.columns import in_columns, in_markdown
from training.evaluate.routing_report import GOAL_BITS, GOAL_NMI
from training.evaluate.validation import GROUPINGS
from training.files import write_atomically
from training.lab.ablations.agreement import ONE_SEED, Agreement, agreement, in_words
from training.lab.ablations.rows import PAPER_BUDGET, ROUTING, TABLES, Row, published_spread
from training.lab.ablations.run import Progress, Result, RoutingFigures, Settings, measured_top_ks
from training.lab.tables.models import measure
from training.lab.tables.published import Named
from training.models.families.choose import parse_variant
from training.models.variants import model_config

REPORT_FILE, DATA_FILE = "ablations.md", "ablations.json"
VOC_CLASSES = 20
PUBLISHED = ("map50_95", "map50", "parameters")
HEADING = ("row", "parameters, M", "ours", "GFLOPs, ours", "mAP50", "ours", "mAP50-95", "ours", "seeds")
GOAL_ONE, GOAL_ALL = 1.0, 0.5  # allowed loss of mAP50-95 in points, with one expert and with all


class Line(NamedTuple):
    """One row of a table, and its finished runs, one for each seed."""

    row: Row
    runs: tuple[Result, ...]
    failed: str | None  # message of the first failed run


@dataclass(frozen=True)
class Table:
    """One table of the paper, or our table on routing."""

    number: int | None  # in the paper; None: ours
    lines: tuple[Line, ...]

    @property
    def name(self) -> str:
        """Return the table's name, such as `table 5`."""
        return f"table {ROUTING if self.number is None else self.number}"

    @property
    def title(self) -> str:
        """Return the subject of the table."""
        return "Routing of sparsight" if self.number is None else TABLES[self.number]

    def fields(self) -> list[dict[str, object]]:
        """Return the rows as fields for JSON; our mAP, shares and NMI are numbers from 0 to 1."""
        return [
            {"name": row.name, "run": row.run, "ours": list(map(asdict, runs)), "failed": failed}
            for row, runs, failed in self.lines
        ]


def build_tables(rows: Sequence[Row], seeds: Sequence[int], progress: Progress) -> list[Table]:
    """Return the tables that `rows` belong to; the paper's tables come first.

    Rows that train the same model share their runs.
    """
    tables = []
    for number in (*TABLES, None):
        lines = []
        for row in rows:
            if row.table == number:
                keys = [(row.run, seed) for seed in seeds]
                runs = tuple(progress.finished[key] for key in keys if key in progress.finished)
                failed = next((progress.failed[key] for key in keys if key in progress.failed), None)
                lines.append(Line(row, runs, failed))
        tables += [Table(number, tuple(lines))] if lines else []
    return tables


def mean_cell(values: Sequence[float], digits: int = 1) -> str:
    """Return the mean as text, with ± the standard deviation if there are several values.

    Return "" if there are no values.
    """
    if not values:
        return ""
    mean = f"{fmean(values):.{digits}f}"
    return f"{mean} ± {stdev(values):.{digits}f}" if len(values) > 1 else mean


def spread() -> float:
    """Return the largest difference, in points, between the paper's figures for its final model."""
    return max(published_spread()) - min(published_spread())


def write_report(output: Path, tables: Sequence[Table], settings: Settings, seeds: Sequence[int]) -> str:
    """Write ablations.md and ablations.json into a folder; return the Markdown."""
    markdown = as_markdown(tables, settings, seeds)
    write_atomically(output / REPORT_FILE, markdown)
    write_atomically(output / DATA_FILE, as_json(tables, settings, seeds))
    return markdown


def as_markdown(tables: Sequence[Table], settings: Settings, seeds: Sequence[int]) -> str:
    """Return the report as Markdown."""
    height, width = settings.input_hw
    asked = [table.number for table in tables if table.number is not None]
    split, val_split = (f", split {each}" if each else "" for each in (settings.split, settings.val_split))
    lines = [
        "# Ablations of YOLO-Master, arXiv:2512.23273" if asked else "# Our own ablations",
        "",
        f"Ours: recipe {settings.recipe}, {settings.epochs} epoch{'s' * (settings.epochs > 1)} of "
        f"{settings.train_images:,} images ({settings.data}{split}, {settings.classes} classes) at "
        f"{height} × {width}, batch {settings.batch_size}, seeds {', '.join(map(str, seeds))}; "
        f"measured on {settings.val_images:,} images{val_split}.",
        "",
        _explanation(bool(asked), len(seeds)),
    ]
    missing = [f"table {number}" for number in TABLES if asked and number not in asked]
    for table in tables:
        lines += ["", *(_routing_section(table) if table.number is None else _section(table))]
        missing += [
            f"{row.name} of {table.name}{f' (failed: {failed})' if failed else ''}"
            for row, runs, failed in table.lines
            if not runs or failed
        ]
    lines += ["", f"Not run or not finished: {'; '.join(missing)}." if missing else "Every row was run."]
    return "\n".join(lines) + "\n"


def _explanation(paper: bool, seeds: int) -> str:
    deviation = "± is the standard deviation from seed to seed."
    if not paper:
        return deviation if seeds > 1 else ONE_SEED
    figures = ", ".join(f"{figure:.1f}" for figure in published_spread())
    return (
        f"The paper: {PAPER_BUDGET}. So only the order of rows can be compared, not the figures. The paper's "
        f"tables 5 to 8 give {figures} for one model: four experts in the backbone, two chosen. It does not "
        f"state the losses of tables 5 to 7. So a difference of up to {spread():.1f} between its rows proves "
        f"nothing. Figures are percent. {deviation}"
    )


def _section(table: Table) -> list[str]:
    rows = [
        (
            row.name,
            "" if row.parameters is None else f"{row.parameters / 1e6:.2f}",
            f"{runs[0].parameters / 1e6:.2f}" if runs else "",
            f"{runs[0].gflops_at_top_k:.2f}" if runs else "",
            "" if row.map50 is None else f"{row.map50:.1f}",
            mean_cell([100 * run.map50 for run in runs]),
            f"{row.map50_95:.1f}",
            mean_cell([100 * run.map50_95 for run in runs]),
            _seeds_cell(runs),
        )
        for row, runs, _ in table.lines
    ]
    heading = f"## {table.name.capitalize()}: {table.title}"
    return [heading, "", *in_markdown(HEADING, rows, "lrrrrrrrr"), "", in_words(_agreement(table), spread())]


def _agreement(table: Table) -> Agreement | None:
    """Return how well our order of the rows by mAP agrees with the paper's order.

    Rows without a finished run are left out.
    """
    there = [(row.map50_95, [100 * run.map50_95 for run in runs]) for row, runs, _ in table.lines if runs]
    return agreement([published for published, _ in there], [ours for _, ours in there], spread())


def _seeds_cell(runs: Sequence[Result]) -> str:
    return ", ".join(str(run.seed) for run in runs) or "none"


def _routing_section(table: Table) -> list[str]:
    variant = table.lines[0].row.variant
    config = model_config(variant, ("any",), (64, 64))
    one, usual, every = measured_top_ks(config)
    kinds = {mixture.router.kind for mixture in config.mixtures.values()}
    family = parse_variant(variant).family
    loss, top_ks = family.losses, family.trained_top_ks(config)
    columns = (
        *("row", f"mAP50-95, K = {usual}", f"K = {one}", f"K = {every}", "bits"),
        *(f"layers with at least {GOAL_BITS:g} bit", "dead experts", "commonest set, %"),
        *(f"NMI with {name}" for name in GROUPINGS),
        "seeds",
    )
    rows = [_routing_cells(row.name, runs, (one, usual, every)) for row, runs, _ in table.lines]
    return [
        f"## {table.title}",
        "",
        f"Unchanged {variant}: router {', '.join(kinds)}; information {loss.information:g}, coverage "
        f"{loss.coverage:g}, balance {loss.balance:g}; in training the K of each image is chosen at random "
        f"from {', '.join(map(str, top_ks))}. The name of each other row states its change.",
        "",
        *in_markdown(columns, rows, "l" + "r" * (len(columns) - 1)),
        "",
        f"mAP in percent; in brackets the difference to K = {usual}, in points. Goals: K = {one} at most "
        f"{GOAL_ONE:.1f} below, K = {every} at most {GOAL_ALL:.1f} below; {GOAL_BITS:g} bit in half of the "
        f"layers; no dead expert; NMI of {GOAL_NMI:g} in half of the layers (layer by layer in the JSON). "
        "Bits, share of images with the commonest set, and NMI are means over layers at "
        f"K = {usual}. Dead experts are the sum over layers. NMI is empty if the data has no such groups.",
    ]


def _routing_cells(name: str, runs: Sequence[Result], top_ks: tuple[int, int, int]) -> list[str]:
    one, usual, every = (str(top_k) for top_k in top_ks)
    mine = [run.routing for run in runs if run.routing is not None]
    bits = [tuple(run.information_bits.values()) for run in runs]
    digits = 0 if len(runs) == 1 else 1  # of counts
    informed = [sum(each >= GOAL_BITS for each in layers) for layers in bits]
    shared = [[each.mean_nmi(grouping) for each in mine] for grouping in GROUPINGS]
    return [
        name,
        mean_cell([100 * each.map50_95[usual] for each in mine if usual in each.map50_95]),
        _beside(mine, one, usual, GOAL_ONE),
        _beside(mine, every, usual, GOAL_ALL),
        mean_cell([fmean(layers) for layers in bits], 2),
        f"{mean_cell(informed, digits)} of {len(bits[0])}" if bits else "",
        mean_cell([sum(each.dead_experts.values()) for each in mine], digits),
        mean_cell([100 * fmean(each.commonest_set.values()) for each in mine], 0),
        *(mean_cell([nmi for nmi in found if nmi is not None], 2) for found in shared),
        _seeds_cell(runs),
    ]


def _beside(found: Sequence[RoutingFigures], top_k: str, usual: str, goal: float) -> str:
    """Return as text the mAP at top_k = `top_k`, and its difference from the mAP at top_k = `usual`.

    Return "" without runs, or if the model does not allow `top_k`; leave out the difference if it does not
    allow `usual`.
    """
    if not all(top_k in each.map50_95 for each in found) or not found:
        return ""
    if not all(usual in each.map50_95 for each in found):
        return mean_cell([100 * each.map50_95[top_k] for each in found])
    difference = 100 * fmean(each.map50_95[top_k] - each.map50_95[usual] for each in found)
    # The difference is rounded, because 0.30 - 0.29 is a little more than 0.01 in binary.
    missed = "" if round(difference, 6) >= -goal else ", missed"
    return f"{mean_cell([100 * each.map50_95[top_k] for each in found])} ({difference:+.2f}{missed})"


def as_json(tables: Sequence[Table], settings: Settings, seeds: Sequence[int]) -> str:
    """Return the report as JSON.

    Published figures are in percent, our figures are from 0 to 1, and goals on mAP are in points of mAP50-95.
    """
    goals = {"one_expert_below": GOAL_ONE, "all_experts_below": GOAL_ALL, "bits": GOAL_BITS, "nmi": GOAL_NMI}
    published, routing = [], None
    for table in tables:
        if table.number is None:
            routing = {"title": table.title, "goals": goals, "rows": table.fields()}
            continue
        found = _agreement(table)
        rows = [
            fields | {"published": {name: getattr(line.row, name) for name in PUBLISHED}}
            for fields, line in zip(table.fields(), table.lines, strict=True)
        ]
        agreed = None if found is None else asdict(found)
        published.append({"table": table.number, "title": table.title, "rows": rows, "agreement": agreed})
    report = {
        "source": "arXiv:2512.23273",
        "published_budget": PAPER_BUDGET,
        "settings": asdict(settings) | {"seeds": list(seeds)},
        "published_spread": list(published_spread()),
        "tables": published,
        "routing": routing,
    }
    return json.dumps(report, indent=2) + "\n"


def as_list(rows: Sequence[Row]) -> str:
    """Return a text that lists every row, the cost of its model, and the paper's figures."""
    measure_once = cache(measure)
    lines = [f"at 640 × 640, {VOC_CLASSES} classes; GFLOPs with all experts, as in training, and at K"]
    for table in build_tables(rows, (), Progress({}, {}, False)):
        cells = [("", "run", "parameters", "GFLOPs", "at K", "published", "mAP50-95")]
        for row, _, _ in table.lines:
            cost = measure_once(Named(variant=row.variant, choice=row.mixture, classes=VOC_CLASSES))
            gflops = (f"{cost.gflops:.2f}", f"{cost.gflops_at_top_k:.2f}")
            theirs = "" if row.parameters is None else f"{row.parameters / 1e6:.2f} M"
            quality = "" if row.table is None else f"{row.map50_95:.1f}"
            cells.append((row.name, row.run, f"{cost.parameters:,}", *gflops, theirs, quality))
        lines += ["", f"{table.name}: {table.title}", *in_columns(cells, "llrrrrr")]
    runs = len({row.run for row in rows})
    lines += ["", f"rows: {len(rows)}; runs for each seed: {runs} (rows that train the same model share one)"]
    return "\n".join(lines)
