"""Compute table rows from times: medians, spreads, ratios within a round, shares of the possible gain."""

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
    """The quartiles of one quantity over the rounds of a benchmark."""

    low: float
    median: float
    high: float

    @classmethod
    def of(cls, values: NDArray[np.float64]) -> "Quartiles":
        """Return the quartiles of at least one value."""
        low, median, high = (float(each) for each in np.percentile(values, (25, 50, 75)))
        return cls(low, median, high)


@dataclass(frozen=True)
class Row:
    """The figures for one form of a model (such as dense or sparse) in one group; times are for one image."""

    form: Form
    gflops: float | None  # None: not counted, as for a peer
    gflops_ratio: float | None  # GFLOPs relative to dense
    seconds: Quartiles
    ratio: Quartiles | None  # time relative to the same model dense, within a round; see _ratio; None: a peer
    ratio_to_reference: Quartiles
    share: float | None  # realised_share; None: not a sparse form, or nothing to gain
    goals: tuple[Goal, ...] = ()  # empty if the form is not sparse


@dataclass(frozen=True)
class Group:
    """The rows of one engine, precision and number of threads, one row for each form of each model.

    All forms were run in turns, so that a change of the machine's speed affects all of them.
    """

    engine: EngineName
    precision: BenchmarkPrecision
    threads: int
    rounds: int
    refused: int
    noisy: bool
    rows: tuple[Row, ...]


def realised_share(sparse: float, bound: float) -> float | None:
    """Return (1 - sparse) / (1 - bound): the time that skipping experts saves, divided by what it could save.

    `sparse` is the time of the sparse form, and `bound` is the time of a graph that holds only the chosen
    experts. Both are relative to the time of the dense form. A share of 1 means that the sparse form is as
    fast as the bound; 0, as slow as the dense form; below 0, slower than the dense form. Return None if the
    bound is hardly faster than the dense form.
    """
    return None if bound > 0.99 else (1 - sparse) / (1 - bound)


def build_rows(
    timed: Timed[Form],
    subjects: Mapping[str, Subject],
    counted: Mapping[Form, float],
    reference: str,
    goals_hold: BenchmarkPrecision | None,
) -> tuple[Row, ...]:
    """Return one row for each form, in the order of the forms; return no rows if no round was quiet.

    The twin, which is the second copy of a dense graph, gets no row.

    Args:
        counted: GFLOPs of each form, for one image.
        reference: label of a subject. In every row, ratio_to_reference is the row's time divided by the time
            of this subject's dense form.
        goals_hold: the precision whose goals are added to the rows of sparse forms; None if there are no
            goals for this engine. Goals that compare with peers are left out if there is no peer.
    """
    if not timed.rounds:
        return ()
    both = {label: [timed.seconds[Form(label, kind)] for kind in ("dense", "twin")] for label in subjects}
    dense = {label: np.mean(pair, axis=0) for label, pair in both.items()}
    ratios = {form: _ratio(timed, form, dense) for form in timed.seconds}
    peer = _fastest_peer(timed)
    rows = []
    for form, seconds in timed.seconds.items():
        if form.kind == "twin":
            continue
        whole = Form(form.label, "dense")
        times = dense[form.label] if form == whole else np.array(seconds) / form.batch
        ratio, beside = ratios[form], Quartiles.of(times / dense[reference])
        share, goals = None, tuple[Goal, ...]()
        if form.kind == "sparse" and form.batch == 1:
            assert ratio is not None
            assert form.top_k is not None
            bound = ratios.get(replace(form, kind="bound"))
            share = None if bound is None else realised_share(ratio.median, bound.median)
            found = {"share": share, "ratio": ratio.median, "ratio_to_reference": beside.median}
            if peer is not None:
                found["ratio_to_peer"] = float(np.median(times / peer))
            if goals_hold is not None:
                models = (subjects[form.label].model, subjects[reference].model)
                wanted = goals_for(models[0], models[1].config.variant, goals_hold, form.top_k)
                goals = tuple(
                    replace(goal, value=found[goal.quantity]) for goal in wanted if goal.quantity in found
                )
        gflops, all_of_it = counted.get(replace(form, batch=1)), counted.get(whole)
        part = gflops / all_of_it if gflops and all_of_it else None
        rows.append(Row(form, gflops, part, Quartiles.of(times), ratio, beside, share, goals))
    return tuple(rows)


def _fastest_peer(timed: Timed[Form]) -> NDArray[np.float64] | None:
    """Return the times of the peer whose median time is the shortest; None if there is no peer."""
    peers = [np.array(seconds) for form, seconds in timed.seconds.items() if form.kind == "peer"]
    return min(peers, key=np.median, default=None)


def _ratio(timed: Timed[Form], form: Form, dense: Mapping[str, NDArray[np.float64]]) -> Quartiles | None:
    """Return a form's times divided by the times of the same model's dense form.

    For the dense form itself, return the times of its twin divided by its own times. The twin is an equal
    graph, so this ratio shows how exact the measurement is. Return None for a peer, a foreign ONNX model,
    because it has no dense form.
    """
    if form.label not in dense:
        return None
    seconds = np.array(timed.seconds[form])
    if form == Form(form.label, "dense"):
        return Quartiles.of(np.array(timed.seconds[replace(form, kind="twin")]) / seconds)
    return Quartiles.of(seconds / form.batch / dense[form.label])
