"""What `python -m training ablations` does."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from training.lab.ablations.report import REPORT_FILE, as_markdown, build_tables, write_report
from training.lab.ablations.rows import ROUTING, ROUTING_ROWS, TABLES, Row, rows_of
from training.lab.ablations.run import AblationOptions, Progress, Say, run_rows, settle


@dataclass(frozen=True)
class Ablations:
    """How it ended."""

    markdown: str
    report: Path
    progress: Progress


def ablations(rows: Sequence[Row], options: AblationOptions, *, quiet: bool, say: Say) -> Ablations:
    """Train and measure rows that are not finished yet; the report is written anew after each.

    Raises:
        TrainingError: nothing could be started. Of single rows that fail, the result tells.
    """
    settings, val_data = settle(rows, options)

    def report(progress: Progress) -> str:
        tables = build_tables(rows, options.seeds, progress)
        write_report(options.output, tables, settings, options.seeds)
        return as_markdown(tables, settings, options.seeds)

    progress = run_rows(rows, options, val_data, after_each=report, quiet=quiet, say=say)
    return Ablations(report(progress), options.output / REPORT_FILE, progress)


def asked_rows(tables: Sequence[str] | None) -> tuple[Row, ...]:
    """The rows of these tables; None: of all of the paper's."""
    numbers = [int(table) for table in tables if table != ROUTING] if tables else list(TABLES)
    return (*rows_of(numbers), *(ROUTING_ROWS if tables and ROUTING in tables else ()))
