"""The tables with the paper's figures and ours, as Markdown and as JSON."""

import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from functools import cache
from pathlib import Path
from typing import NamedTuple

from training.columns import in_columns, in_markdown
from training.files import write_atomically
from training.lab.ablations.agreement import Agreement, agreement, in_words
from training.lab.ablations.cells import mean_cell
from training.lab.ablations.routing_table import TITLE, RoutingTable, routing_fields, routing_markdown
from training.lab.ablations.rows import (
    PAPER_BUDGET,
    ROUTING,
    TABLES,
    PaperRow,
    RoutingRow,
    Row,
    published_spread,
)
from training.lab.ablations.run import Progress, Result, Settings
from training.lab.tables.models import Measured, measure
from training.lab.tables.published import Named

REPORT_FILE, DATA_FILE = "ablations.md", "ablations.json"
VOC_CLASSES = 20
HEADING = ("row", "parameters, M", "ours", "GFLOPs, ours", "mAP50", "ours", "mAP50-95", "ours", "seeds")


@dataclass(frozen=True)
class Table:
    """One table of the paper with what there is of ours."""

    number: int
    rows: tuple[PaperRow, ...]
    ours: tuple[tuple[Result, ...], ...]  # of each row, by seed
    failed: tuple[str, ...]  # of each row, the message of its first failed run; empty where none failed

    @property
    def agreement(self) -> Agreement | None:
        """Over the rows that are finished with at least one seed."""
        there = [(row, runs) for row, runs in zip(self.rows, self.ours, strict=True) if runs]
        return agreement(
            [row.map50_95 for row, _ in there],
            [[100 * run.map50_95 for run in runs] for _, runs in there],
            spread(),
        )


def spread() -> float:
    """How far the paper's own figures for its adopted model are apart, in points."""
    figures = published_spread()
    return max(figures) - min(figures)


class Tables(NamedTuple):
    """Those of which rows were asked for."""

    paper: tuple[Table, ...]
    routing: RoutingTable | None


def build_tables(rows: Sequence[Row], seeds: Sequence[int], progress: Progress) -> Tables:
    """Sort finished and failed runs under the rows that share them."""
    published = [row for row in rows if isinstance(row, PaperRow)]
    paper = []
    for number in sorted({row.table for row in published}):
        mine = tuple(row for row in published if row.table == number)
        paper.append(Table(number, mine, *_runs(mine, seeds, progress)))
    ours = tuple(row for row in rows if isinstance(row, RoutingRow))
    return Tables(tuple(paper), RoutingTable(ours, *_runs(ours, seeds, progress)) if ours else None)


def _runs(
    rows: Sequence[Row], seeds: Sequence[int], progress: Progress
) -> tuple[tuple[tuple[Result, ...], ...], tuple[str, ...]]:
    """The finished runs of each row, and the message of its first failed one."""
    runs = [[(row.run, seed) for seed in seeds] for row in rows]
    return (
        tuple(tuple(progress.finished[k] for k in keys if k in progress.finished) for keys in runs),
        tuple(next((progress.failed[k] for k in keys if k in progress.failed), "") for keys in runs),
    )


def write_report(output: Path, tables: Tables, settings: Settings, seeds: Sequence[int]) -> None:
    """Write ablations.md and ablations.json into a folder."""
    write_atomically(output / REPORT_FILE, as_markdown(tables, settings, seeds))
    write_atomically(output / DATA_FILE, as_json(tables, settings, seeds))


def as_markdown(tables: Tables, settings: Settings, seeds: Sequence[int]) -> str:
    """For people."""
    height, width = settings.input_hw
    lines = [
        "# Ablations of YOLO-Master, arXiv:2512.23273" if tables.paper else "# Ablations of our own",
        "",
        f"Ours: recipe {settings.recipe}, {settings.epochs} epoch{'s' * (settings.epochs > 1)} of "
        f"{settings.train_images:,} pictures ({settings.data}{_part(settings.split)}, {settings.classes} "
        f"classes) at {height} × {width}, batch {settings.batch_size}, seeds {', '.join(map(str, seeds))}; "
        f"measured on {settings.val_images:,} pictures{_part(settings.val_split)}.",
        "",
        *_of_figures(tables, seeds),
    ]
    for table in tables.paper:
        lines += ["", *_table(table)]
    if tables.routing is not None:
        lines += ["", *routing_markdown(tables.routing)]
    missing = _missing(tables)
    lines += ["", f"Not run, or not to the end: {'; '.join(missing)}." if missing else "Every row was run."]
    return "\n".join(lines) + "\n"


def _part(split: str | None) -> str:
    return "" if split is None else f", split {split}"


def _of_figures(tables: Tables, seeds: Sequence[int]) -> list[str]:
    deviation = "± is the standard deviation from seed to seed."
    if not tables.paper:
        alone = "One seed: how much of the differences between rows is chance is not known."
        return [deviation.capitalize() if len(seeds) > 1 else alone]
    figures = ", ".join(f"{figure:.1f}" for figure in published_spread())
    return [
        f"The paper: {PAPER_BUDGET}. So figures cannot be compared, only the order of rows. For four experts "
        f"in the backbone, two chosen, its tables 5 to 8 have {figures} (which losses 5 to 7 had it does not "
        f"say): rows closer than {spread():.1f} it does not tell apart itself. Figures are percent; "
        f"{deviation}"
    ]


def _missing(tables: Tables) -> list[str]:
    """What has no run, or one that failed; tables of the paper too, where any of them was asked for."""
    asked = [table.number for table in tables.paper]
    missing = [f"table {number}" for number in TABLES if asked and number not in asked]
    of: list[tuple[str, Table | RoutingTable]] = [(f"table {table.number}", table) for table in tables.paper]
    of += [(f"table {ROUTING}", tables.routing)] if tables.routing else []
    return missing + [
        f"{row.name} of {name}{f' (failed: {failed})' if failed else ''}"
        for name, table in of
        for row, runs, failed in zip(table.rows, table.ours, table.failed, strict=True)
        if not runs or failed
    ]


def _table(table: Table) -> list[str]:
    rows = []
    for row, runs in zip(table.rows, table.ours, strict=True):
        cells = (
            row.name,
            "" if row.parameters is None else f"{row.parameters / 1e6:.2f}",
            f"{runs[0].parameters / 1e6:.2f}" if runs else "",
            f"{runs[0].gflops_at_top_k:.2f}" if runs else "",
            "" if row.map50 is None else f"{row.map50:.1f}",
            mean_cell([100 * run.map50 for run in runs]),
            f"{row.map50_95:.1f}",
            mean_cell([100 * run.map50_95 for run in runs]),
            ", ".join(str(run.seed) for run in runs) or "none",
        )
        rows.append(cells)
    return [
        f"## Table {table.number}: {TABLES[table.number]}",
        "",
        *in_markdown(HEADING, rows, "lrrrrrrrr"),
        "",
        in_words(table.agreement, spread()),
    ]


def as_json(tables: Tables, settings: Settings, seeds: Sequence[int]) -> str:
    """For machines; published figures in percent, ours 0..1."""
    return (
        json.dumps(
            {
                "source": "arXiv:2512.23273",
                "published_budget": PAPER_BUDGET,
                "settings": asdict(settings) | {"seeds": list(seeds)},
                "published_spread": list(published_spread()),
                "tables": [
                    {
                        "table": table.number,
                        "title": TABLES[table.number],
                        "rows": [
                            {"name": row.name, "run": row.run}
                            | {
                                "published": {
                                    "map50_95": row.map50_95,
                                    "map50": row.map50,
                                    "parameters": row.parameters,
                                },
                                "ours": [asdict(run) for run in runs],
                                "failed": failed or None,
                            }
                            for row, runs, failed in zip(table.rows, table.ours, table.failed, strict=True)
                        ],
                        "agreement": None if table.agreement is None else asdict(table.agreement),
                    }
                    for table in tables.paper
                ],
                "routing": None if tables.routing is None else routing_fields(tables.routing),
            },
            indent=2,
        )
        + "\n"
    )


def as_list(rows: Sequence[Row]) -> str:
    """Every row with what it costs, and what the paper has."""
    measure_once = cache(measure)
    lines = [
        f"at 640 × 640, {VOC_CLASSES} classes; in training every expert computes, in use those chosen",
        "",
    ]
    for title, mine in _by_table(rows).items():
        lines.append(title)
        cells = [("", "run", "parameters", "GFLOPs", "at K", "published", "mAP50-95")]
        for row in mine:
            cost: Measured = measure_once(Named(variant=row.variant, choice=row.mixture, classes=VOC_CLASSES))
            gflops = (f"{cost.gflops:.2f}", f"{cost.gflops_at_top_k:.2f}")
            published = _published(row) if isinstance(row, PaperRow) else ("", "")
            cells.append((row.name, row.run, f"{cost.parameters:,}", *gflops, *published))
        lines += [*in_columns(cells, "llrrrrr"), ""]
    runs = len({row.run for row in rows})
    lines.append(f"{len(rows)} rows of {runs} runs a seed: rows that train the same share one")
    return "\n".join(lines)


def _by_table(rows: Sequence[Row]) -> dict[str, list[Row]]:
    """The paper's tables by number, then ours; by title."""
    found: dict[str, list[Row]] = {}
    for number in sorted({row.table for row in rows if isinstance(row, PaperRow)}):
        mine = [row for row in rows if isinstance(row, PaperRow) and row.table == number]
        found[f"table {number}: {TABLES[number]}"] = list(mine)
    ours: list[Row] = [row for row in rows if isinstance(row, RoutingRow)]
    return found | ({f"table {ROUTING}: {TITLE}": ours} if ours else {})


def _published(row: PaperRow) -> tuple[str, str]:
    return "" if row.parameters is None else f"{row.parameters / 1e6:.2f} M", f"{row.map50_95:.1f}"
