"""The tables with the paper's figures and ours, as Markdown and as JSON."""

import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from functools import cache
from pathlib import Path
from statistics import fmean, stdev

from training.ablations.agreement import Agreement, agreement, in_words
from training.ablations.rows import PAPER_BUDGET, TABLES, Row, published_spread
from training.ablations.run import Progress, Result, Settings, write_text
from training.tables.models import Measured, measure
from training.tables.published import Named

REPORT_FILE, DATA_FILE = "ablations.md", "ablations.json"
VOC_CLASSES = 20
HEADER = "| {} | parameters, M | ours | GFLOPs, ours | mAP50 | ours | mAP50-95 | ours | seeds |"


@dataclass(frozen=True)
class Table:
    """One table of the paper with what there is of ours."""

    number: int
    rows: tuple[Row, ...]
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


def build_tables(rows: Sequence[Row], seeds: Sequence[int], progress: Progress) -> list[Table]:
    """Sort finished and failed runs under the rows that share them."""
    tables = []
    for number in sorted({row.table for row in rows}):
        mine = tuple(row for row in rows if row.table == number)
        runs = [[(row.run, seed) for seed in seeds] for row in mine]
        tables.append(
            Table(
                number,
                mine,
                tuple(tuple(progress.finished[k] for k in keys if k in progress.finished) for keys in runs),
                tuple(next((progress.failed[k] for k in keys if k in progress.failed), "") for keys in runs),
            )
        )
    return tables


def write_report(output: Path, tables: Sequence[Table], settings: Settings, seeds: Sequence[int]) -> None:
    """Write ablations.md and ablations.json into a folder."""
    write_text(output / REPORT_FILE, as_markdown(tables, settings, seeds))
    write_text(output / DATA_FILE, as_json(tables, settings, seeds))


def as_markdown(tables: Sequence[Table], settings: Settings, seeds: Sequence[int]) -> str:
    """For people."""
    height, width = settings.input_hw
    figures = ", ".join(f"{figure:.1f}" for figure in published_spread())
    lines = [
        "# Ablations of YOLO-Master, arXiv:2512.23273",
        "",
        f"Ours: recipe {settings.recipe}, {settings.epochs} epoch{'s' * (settings.epochs > 1)} of "
        f"{settings.train_images:,} pictures ({settings.data}, {settings.classes} classes) at "
        f"{height} × {width}, batch {settings.batch_size}, seeds {', '.join(map(str, seeds))}; measured on "
        f"{settings.val_images:,} pictures.",
        "",
        f"The paper: {PAPER_BUDGET}. So figures cannot be compared, only the order of rows. For four experts "
        f"in the backbone, two chosen, its tables 5 to 8 have {figures} (which losses 5 to 7 had it does not "
        f"say): rows closer than {spread():.1f} it does not tell apart itself. Figures are percent; ± is the "
        "standard deviation from seed to seed.",
    ]
    for table in tables:
        lines += ["", *_table(table)]
    asked = {row.table for table in tables for row in table.rows}
    missing = [f"table {number}" for number in TABLES if number not in asked]
    missing += [
        f"{row.name} of table {table.number}{f' (failed: {failed})' if failed else ''}"
        for table in tables
        for row, runs, failed in zip(table.rows, table.ours, table.failed, strict=True)
        if not runs or failed
    ]
    lines += ["", f"Not run, or not to the end: {'; '.join(missing)}." if missing else "Every row was run."]
    return "\n".join(lines) + "\n"


def _table(table: Table) -> list[str]:
    lines = [
        f"## Table {table.number}: {TABLES[table.number]}",
        "",
        HEADER.format("row"),
        "|---" + "|---:" * 8 + "|",
    ]
    for row, runs in zip(table.rows, table.ours, strict=True):
        cells = [
            row.name,
            "" if row.parameters is None else f"{row.parameters / 1e6:.2f}",
            f"{runs[0].parameters / 1e6:.2f}" if runs else "",
            f"{runs[0].gflops_at_top_k:.2f}" if runs else "",
            "" if row.map50 is None else f"{row.map50:.1f}",
            _figure([run.map50 for run in runs]),
            f"{row.map50_95:.1f}",
            _figure([run.map50_95 for run in runs]),
            ", ".join(str(run.seed) for run in runs) or "none",
        ]
        lines.append(f"| {' | '.join(cells)} |")
    return [*lines, "", in_words(table.agreement, spread())]


def _figure(values: Sequence[float]) -> str:
    if not values:
        return ""
    mean = f"{100 * fmean(values):.1f}"
    return f"{mean} ± {100 * stdev(values):.1f}" if len(values) > 1 else mean


def as_json(tables: Sequence[Table], settings: Settings, seeds: Sequence[int]) -> str:
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
                    for table in tables
                ],
            },
            indent=2,
        )
        + "\n"
    )


def as_list(rows: Sequence[Row]) -> str:
    """Every row with what it costs, and what the paper has."""
    measure_once = cache(measure)
    columns = "{:<26}{:<42}{:>12}{:>9}{:>9}{:>11}{:>10}".format
    lines = [
        f"at 640 × 640, {VOC_CLASSES} classes; in training every expert computes, in use those chosen",
        "",
    ]
    for number in sorted({row.table for row in rows}):
        lines.append(f"table {number}: {TABLES[number]}")
        lines.append(columns("", "run", "parameters", "GFLOPs", "at K", "published", "mAP50-95"))
        for row in (row for row in rows if row.table == number):
            cost: Measured = measure_once(Named(variant=row.variant, choice=row.mixture, classes=VOC_CLASSES))
            published = "" if row.parameters is None else f"{row.parameters / 1e6:.2f} M"
            gflops = (f"{cost.gflops:.2f}", f"{cost.gflops_at_top_k:.2f}")
            lines.append(
                columns(row.name, row.run, f"{cost.parameters:,}", *gflops, published, f"{row.map50_95:.1f}")
            )
        lines.append("")
    runs = len({row.run for row in rows})
    lines.append(f"{len(rows)} rows of {runs} runs a seed: rows that train the same share one")
    return "\n".join(lines)
