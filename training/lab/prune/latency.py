"""Time a model before and after pruning on this machine, by running both models in turns."""

import tempfile
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from training.lab.benchmark.engines import open_engine
from training.lab.benchmark.graphs import Graphs
from training.lab.benchmark.machine import describe_machine
from training.lab.benchmark.rows import Quartiles
from training.lab.benchmark.subjects import Form, Kind, Subject, time_forms
from training.models.detector import Detector
from training.rounds import Timed

ROUNDS = 15
KINDS: tuple[Kind, ...] = ("dense", "sparse")
BEFORE, AFTER = "before", "after"


@dataclass(frozen=True)
class Pair:
    """The times of one kind of graph (dense or sparse) before and after pruning, and their ratio."""

    before_s: Quartiles
    after_s: Quartiles
    ratio: Quartiles  # after ÷ before, within a round


@dataclass(frozen=True)
class Latency:
    """Times before and after pruning, measured with OpenVINO in float32 on one thread.

    Both models get the same generated scene, and each runs with its own top_k.
    """

    machine: str
    rounds: int
    refused: int
    noisy: bool  # the machine was too busy for the requested rounds
    noise: Quartiles | None  # ratio of the times of two equal graphs, dense, before; None: no quiet round
    pairs: Mapping[Kind, Pair]  # empty: no round was quiet


def measure_latency(before: Detector, after: Detector, *, rounds: int = ROUNDS) -> Latency:
    """Trace both models as dense graphs (every expert runs) and sparse graphs (only chosen experts run).

    Then time all graphs.
    """
    models = {BEFORE: before, AFTER: after}
    subjects = {label: Subject(label, model, (model.config.top_k,)) for label, model in models.items()}
    forms = [Form(label, kind) for label in subjects for kind in (*KINDS, "twin")]
    with tempfile.TemporaryDirectory(prefix="prune-") as folder:
        graphs = Graphs(Path(folder), subjects, {})
        prepare = open_engine("openvino", "f32", 1)
        sources = {form: graphs.source(form, "openvino", "f32") for form in forms}
        runs = {form: prepare(source, graphs.inputs(form)) for form, source in sources.items()}
        timed = time_forms(runs, subjects, rounds, "time")
    return summarise(timed)


def summarise(timed: Timed[Form]) -> Latency:
    """Return the quartiles of the times, and of the times after pruning divided by those before pruning."""
    seconds = {form: np.array(times) for form, times in timed.seconds.items()}
    pairs: dict[Kind, Pair] = {}
    noise = None
    if timed.rounds:
        for kind in KINDS:
            first, second = (seconds[Form(label, kind)] for label in (BEFORE, AFTER))
            pairs[kind] = Pair(Quartiles.of(first), Quartiles.of(second), Quartiles.of(second / first))
        noise = Quartiles.of(seconds[Form(BEFORE, "twin")] / seconds[Form(BEFORE, "dense")])
    return Latency(describe_machine(), timed.rounds, timed.refused, timed.noisy, noise, pairs)
