"""Tables of rows with their finished runs, and cells with figures over seeds."""

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from statistics import fmean, stdev

from training.lab.ablations.rows import ROUTING, TABLES, Row
from training.lab.ablations.run import Progress, Result


@dataclass(frozen=True)
class Table:
    """One table: of the paper, or ours on routing."""

    number: int | None  # None: ours
    rows: tuple[Row, ...]
    ours: tuple[tuple[Result, ...], ...]  # of each row, by seed
    failed: tuple[str, ...]  # of each row, the message of its first failed run; empty where none failed

    @property
    def name(self) -> str:
        """Return the table's name, such as `table 5`."""
        return f"table {ROUTING if self.number is None else self.number}"

    @property
    def title(self) -> str:
        """Return the subject of the table."""
        return "Routing of sparsight" if self.number is None else TABLES[self.number]

    def fields(self) -> list[dict[str, object]]:
        """Return the rows as fields for JSON; our mAP, shares and NMI are 0..1."""
        return [
            {
                "name": row.name,
                "run": row.run,
                "ours": list(map(asdict, runs)),
                "failed": failed or None,
            }
            for row, runs, failed in zip(self.rows, self.ours, self.failed, strict=True)
        ]


def build_tables(rows: Sequence[Row], seeds: Sequence[int], progress: Progress) -> list[Table]:
    """Return the tables, each row with its finished and failed runs; the paper's tables come first.

    Rows that train the same share their runs.
    """
    tables = []
    for number in (*TABLES, None):
        mine = tuple(row for row in rows if row.table == number)
        keys = [[(row.run, seed) for seed in seeds] for row in mine]
        ours = tuple(tuple(progress.finished[k] for k in of if k in progress.finished) for of in keys)
        failed = tuple(next((progress.failed[k] for k in of if k in progress.failed), "") for of in keys)
        tables += [Table(number, mine, ours, failed)] if mine else []
    return tables


def mean_cell(values: Sequence[float], digits: int = 1) -> str:
    """Return the mean, with ± the standard deviation if there are several values; empty if none."""
    if not values:
        return ""
    mean = f"{fmean(values):.{digits}f}"
    return f"{mean} ± {stdev(values):.{digits}f}" if len(values) > 1 else mean


def seeds_cell(runs: Sequence[Result]) -> str:
    """Return the seeds of finished runs, or `none`."""
    return ", ".join(str(run.seed) for run in runs) or "none"
