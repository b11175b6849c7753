"""The command `python -m training ablations`."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from training.errors import ConfigError
from training.lab.ablations.report import REPORT_FILE, build_tables, write_report
from training.lab.ablations.rows import ROUTING, ROUTING_ROWS, TABLES, Row, rows_of
from training.lab.ablations.run import Progress, run_rows, settle
from training.workflows.train import TrainOptions


@dataclass(frozen=True)
class Ablations:
    """The result of the command `ablations`: the report, its file, and which runs finished or failed."""

    markdown: str
    report: Path
    progress: Progress


def ablations(rows: Sequence[Row], options: TrainOptions, seeds: Sequence[int] = (0,)) -> Ablations:
    """Train and measure all rows that are not finished yet; rewrite the report after each run.

    The options apply to all runs; options.run_dir is the folder for all runs and for the report.

    Raises:
        TrainingError: no run could be started. If some rows fail, no error is raised: the result names them.
    """
    settings, val_data = settle(rows, options, seeds)

    def report(progress: Progress) -> str:
        return write_report(options.run_dir, build_tables(rows, seeds, progress), settings, seeds)

    progress = run_rows(rows, options, seeds, val_data, after_each=report)
    return Ablations(report(progress), options.run_dir / REPORT_FILE, progress)


def asked_rows(tables: Sequence[str] | None, texts: Sequence[str] | None = None) -> tuple[Row, ...]:
    """Return the rows of the tables named in `tables`; if it names none, use all tables of the paper.

    If there are `texts`, return only the rows whose name contains one of them, in upper or lower case.

    Raises:
        ConfigError: no row's name contains one of the texts.
    """
    names = tables or [*map(str, TABLES)]
    rows = rows_of([int(name) for name in names if name != ROUTING]) + ROUTING_ROWS * (ROUTING in names)
    if not texts:
        return rows
    for text in texts:
        if not any(text.lower() in row.name.lower() for row in rows):
            raise ConfigError(f"no row contains {text!r}; there are: {', '.join(row.name for row in rows)}")
    return tuple(row for row in rows if any(text.lower() in row.name.lower() for text in texts))
