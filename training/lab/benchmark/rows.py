"""From timings to what the table says: medians, spreads, ratios within a round, shares of the bound."""

from collections.abc import Mapping
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from training.lab.benchmark.engines import BenchmarkPrecision, EngineName
from training.lab.benchmark.goals import Goal, goals_for
from training.lab.benchmark.subjects import Form, Subject
from training.rounds import Timed


@dataclass(frozen=True)
class Quartiles:
    """Of one quantity over the rounds."""

    low: float
    median: float
    high: float

    @classmethod
    def of(cls, values: NDArray[np.float64]) -> "Quartiles":
        """At least one value."""
        low, median, high = (float(each) for each in np.percentile(values, (25, 50, 75)))
        return cls(low, median, high)


@dataclass(frozen=True)
class Verdict:
    """A goal and what was measured of it; None: it could not be."""

    goal: Goal
    value: float | None

    @property
    def met(self) -> bool:
        """What could not be measured is not met."""
        return self.value is not None and self.goal.met(self.value)


@dataclass(frozen=True)
class Row:
    """One form in one group. Times are for one image."""

    form: Form
    gflops: float | None  # None: a peer's are not counted
    gflops_ratio: float | None  # to dense
    seconds: Quartiles
    ratio: Quartiles | None  # to the same model dense, in the same round; of dense to its twin; None: a peer
    ratio_to_reference: Quartiles
    share: float | None  # of what the bound gains on dense; None: not a sparse form, or nothing to gain
    verdicts: tuple[Verdict, ...] = ()


@dataclass(frozen=True)
class Group:
    """What ran interleaved: one engine, one precision, one number of threads."""

    engine: EngineName
    precision: BenchmarkPrecision
    threads: int
    rounds: int
    refused: int
    noisy: bool
    rows: tuple[Row, ...]


def realised_share(sparse: float, bound: float) -> float | None:
    """(dense - sparse) / (dense - bound), all over dense. None: the bound gains nothing that could be shared.

    1 means that nothing is lost by choosing at run time, 0 that nothing is won, less that it costs.
    """
    return None if bound > 0.99 else (1 - sparse) / (1 - bound)


def build_rows(
    timed: Timed[Form],
    subjects: Mapping[str, Subject],
    counted: Mapping[Form, float],
    reference: str,
    goals_hold: BenchmarkPrecision | None,
) -> tuple[Row, ...]:
    """Rows in the order of the forms; empty if no round was kept.

    Args:
        counted: GFLOPs of forms, for one image.
        reference: label of the subject whose dense form all are compared with.
        goals_hold: the precision whose goals stand beside the rows; None: no goals for this engine.
    """
    if not timed.rounds:
        return ()
    dense = {label: _mean_of_twins(timed, label) for label in subjects}
    rows: list[Row] = []
    for form, seconds in timed.seconds.items():
        if form.kind == "twin":
            continue
        whole_form = Form(form.label, "dense")
        times = dense[form.label] if form == whole_form else np.array(seconds) / form.batch
        ratio = None
        if form == whole_form:
            ratio = Quartiles.of(np.array(timed.seconds[Form(form.label, "twin")]) / np.array(seconds))
        elif form.label in dense:
            ratio = Quartiles.of(times / dense[form.label])
        gflops = counted.get(Form(form.label, form.kind, form.top_k))
        whole = counted.get(whole_form)
        rows.append(
            Row(
                form,
                gflops,
                gflops / whole if gflops and whole else None,
                Quartiles.of(times),
                ratio,
                Quartiles.of(times / dense[reference]),
                None,
            )
        )
    by_form = {row.form: row for row in rows}
    return tuple(
        _judged(row, by_form, subjects[row.form.label], subjects[reference], goals_hold)
        if row.form.kind == "sparse"
        else row
        for row in rows
    )


def _mean_of_twins(timed: Timed[Form], label: str) -> NDArray[np.float64]:
    pair = (timed.seconds[Form(label, "dense")], timed.seconds[Form(label, "twin")])
    return np.asarray(np.mean(pair, axis=0))


def _judged(
    row: Row,
    by_form: Mapping[Form, Row],
    subject: Subject,
    reference: Subject,
    goals_hold: BenchmarkPrecision | None,
) -> Row:
    form, share = row.form, None
    assert row.ratio is not None
    assert form.top_k is not None
    bound = by_form.get(Form(form.label, "bound", form.top_k))
    if bound is not None and bound.ratio is not None:
        share = realised_share(row.ratio.median, bound.ratio.median)
    goals: tuple[Goal, ...] = ()
    if goals_hold is not None:
        goals = goals_for(subject.model, reference.model.config.variant, goals_hold, form.top_k)
    measured = {
        "share": share,
        "ratio": row.ratio.median,
        "ratio_to_reference": row.ratio_to_reference.median,
    }
    verdicts = tuple(Verdict(goal, measured[goal.quantity]) for goal in goals)
    return replace(row, share=share, verdicts=verdicts)
