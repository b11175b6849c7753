"""The rows of each table with what there is of ours: runs, and figures over seeds."""

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from statistics import fmean, stdev

from training.lab.ablations.rows import ROUTING, TABLES, Row
from training.lab.ablations.run import Progress, Result


@dataclass(frozen=True)
class Table:
    """One table of the paper, or ours on routing."""

    number: int | None  # None: ours
    rows: tuple[Row, ...]
    ours: tuple[tuple[Result, ...], ...]  # of each row, by seed
    failed: tuple[str, ...]  # of each row, the message of its first failed run; empty where none failed

    @property
    def name(self) -> str:
        """Return what the command line calls it."""
        return f"table {ROUTING if self.number is None else self.number}"

    @property
    def title(self) -> str:
        """Return what it is about."""
        return "Routing of sparsight" if self.number is None else TABLES[self.number]

    def fields(self) -> list[dict[str, object]]:
        """Return its rows for machines; mAP, shares and NMI of ours 0..1."""
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
    """Sort finished and failed runs under the rows that share them; the paper's tables come first."""
    tables = []
    for number in (*TABLES, None):
        mine = tuple(row for row in rows if row.table == number)
        keys = [[(row.run, seed) for seed in seeds] for row in mine]
        ours = tuple(tuple(progress.finished[k] for k in of if k in progress.finished) for of in keys)
        failed = tuple(next((progress.failed[k] for k in of if k in progress.failed), "") for of in keys)
        tables += [Table(number, mine, ours, failed)] if mine else []
    return tables


def mean_cell(values: Sequence[float], digits: int = 1) -> str:
    """Return the mean, with several also ± the standard deviation; empty without any."""
    if not values:
        return ""
    mean = f"{fmean(values):.{digits}f}"
    return f"{mean} ± {stdev(values):.{digits}f}" if len(values) > 1 else mean


def seeds_cell(runs: Sequence[Result]) -> str:
    """Return which seeds are finished."""
    return ", ".join(str(run.seed) for run in runs) or "none"
