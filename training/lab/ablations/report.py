"""Write the tables with the paper's figures and ours, as Markdown and as JSON."""

import json
from collections.abc import Sequence
from dataclasses import asdict
from functools import cache
from pathlib import Path

from training.columns import in_columns, in_markdown
from training.files import write_atomically
from training.lab.ablations.agreement import Agreement, agreement, in_words
from training.lab.ablations.routing_table import routing_fields, routing_markdown
from training.lab.ablations.rows import PAPER_BUDGET, TABLES, Row, published_spread
from training.lab.ablations.run import Progress, Settings
from training.lab.ablations.tables import Table, build_tables, mean_cell, seeds_cell
from training.lab.tables.models import measure
from training.lab.tables.published import Named

REPORT_FILE, DATA_FILE = "ablations.md", "ablations.json"
VOC_CLASSES = 20
PUBLISHED = ("map50_95", "map50", "parameters")
HEADING = ("row", "parameters, M", "ours", "GFLOPs, ours", "mAP50", "ours", "mAP50-95", "ours", "seeds")


def spread() -> float:
    """Return how far the paper's own figures of its adopted model are apart, in points."""
    figures = published_spread()
    return max(figures) - min(figures)


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
    lines = [
        "# Ablations of YOLO-Master, arXiv:2512.23273" if asked else "# Ablations of our own",
        "",
        f"Ours: recipe {settings.recipe}, {settings.epochs} epoch{'s' * (settings.epochs > 1)} of "
        f"{settings.train_images:,} images ({settings.data}{_part(settings.split)}, {settings.classes} "
        f"classes) at {height} × {width}, batch {settings.batch_size}, seeds {', '.join(map(str, seeds))}; "
        f"measured on {settings.val_images:,} images{_part(settings.val_split)}.",
        "",
        _of_figures(bool(asked), len(seeds)),
    ]
    missing = [f"table {number}" for number in TABLES if asked and number not in asked]
    for table in tables:
        lines += ["", *(routing_markdown(table) if table.number is None else _section(table))]
        missing += [
            f"{row.name} of {table.name}{f' (failed: {failed})' if failed else ''}"
            for row, runs, failed in zip(table.rows, table.ours, table.failed, strict=True)
            if not runs or failed
        ]
    lines += ["", f"Not run, or not to the end: {'; '.join(missing)}." if missing else "Every row was run."]
    return "\n".join(lines) + "\n"


def _part(split: str | None) -> str:
    return "" if split is None else f", split {split}"


def _of_figures(papers: bool, seeds: int) -> str:
    deviation = "± is the standard deviation from seed to seed."
    if not papers:
        alone = "One seed: how much of the differences between rows is chance is not known."
        return deviation.capitalize() if seeds > 1 else alone
    figures = ", ".join(f"{figure:.1f}" for figure in published_spread())
    return (
        f"The paper: {PAPER_BUDGET}. So figures cannot be compared, only the order of rows. For four experts "
        f"in the backbone, two chosen, its tables 5 to 8 have {figures} (which losses 5 to 7 had it does not "
        f"say): rows closer than {spread():.1f} it does not tell apart itself. Figures are percent; "
        f"{deviation}"
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
            seeds_cell(runs),
        )
        for row, runs in zip(table.rows, table.ours, strict=True)
    ]
    heading = f"## {table.name.capitalize()}: {table.title}"
    return [heading, "", *in_markdown(HEADING, rows, "lrrrrrrrr"), "", in_words(_agreement(table), spread())]


def _agreement(table: Table) -> Agreement | None:
    """Return the agreement over the rows that have at least one finished seed."""
    there = [(row, runs) for row, runs in zip(table.rows, table.ours, strict=True) if runs]
    ours = [[100 * run.map50_95 for run in runs] for _, runs in there]
    return agreement([row.map50_95 for row, _ in there], ours, spread())


def as_json(tables: Sequence[Table], settings: Settings, seeds: Sequence[int]) -> str:
    """Return the report as JSON; published figures in percent, ours 0..1."""
    published, routing = [], None
    for table in tables:
        if table.number is None:
            routing = routing_fields(table)
            continue
        found = _agreement(table)
        rows = [
            of | {"published": {name: getattr(row, name) for name in PUBLISHED}}
            for of, row in zip(table.fields(), table.rows, strict=True)
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
    """Return text with every row, its cost, and the paper's figures."""
    measure_once = cache(measure)
    lines = [f"at 640 × 640, {VOC_CLASSES} classes; in training every expert computes, in use those chosen"]
    for table in build_tables(rows, (), Progress({}, {}, False)):
        cells = [("", "run", "parameters", "GFLOPs", "at K", "published", "mAP50-95")]
        for row in table.rows:
            cost = measure_once(Named(variant=row.variant, choice=row.mixture, classes=VOC_CLASSES))
            gflops = (f"{cost.gflops:.2f}", f"{cost.gflops_at_top_k:.2f}")
            theirs = "" if row.parameters is None else f"{row.parameters / 1e6:.2f} M"
            quality = "" if row.table is None else f"{row.map50_95:.1f}"
            cells.append((row.name, row.run, f"{cost.parameters:,}", *gflops, theirs, quality))
        lines += ["", f"{table.name}: {table.title}", *in_columns(cells, "llrrrrr")]
    runs = len({row.run for row in rows})
    lines += ["", f"{len(rows)} rows of {runs} runs a seed: rows that train the same share one"]
    return "\n".join(lines)
