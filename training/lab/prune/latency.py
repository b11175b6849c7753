"""Time of an image before and after pruning, measured in turns on this machine."""

import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

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
    """The times of one kind of execution, before and after pruning."""

    before_s: Quartiles
    after_s: Quartiles
    ratio: Quartiles  # after over before, within a round


@dataclass(frozen=True)
class Latency:
    """Times with OpenVINO, float32, one thread, one generated scene, at each model's own top_k."""

    machine: str
    rounds: int
    refused: int
    noisy: bool  # the machine was too busy for the requested rounds
    noise: Quartiles | None  # of the dense graph before, against its twin; None: no quiet round
    pairs: Mapping[Kind, Pair]  # empty: no round was quiet


def measure_latency(
    before: Detector,
    after: Detector,
    *,
    rounds: int = ROUNDS,
    kinds: Sequence[Kind] = KINDS,
) -> Latency:
    """Trace both models dense (every expert runs) and sparse (only the chosen ones run), and time them."""
    subjects = {
        label: Subject(label, model, (model.config.top_k,))
        for label, model in ((BEFORE, before), (AFTER, after))
    }
    forms = [Form(label, kind) for label in subjects for kind in ("dense", "twin", *kinds)]
    with tempfile.TemporaryDirectory(prefix="prune-") as room:
        graphs = Graphs(Path(room), subjects, {})
        prepare = open_engine("openvino", "f32", 1)
        sources = {form: graphs.source(form, "openvino", "f32") for form in forms}
        runs = {form: prepare(source, graphs.inputs(form)) for form, source in sources.items()}
        timed = time_forms(runs, subjects, rounds, "time")
    return summarise(timed, kinds)


def summarise(timed: Timed[Form], kinds: Sequence[Kind] = KINDS) -> Latency:
    """Return medians and middle halves of the measured times."""
    pairs: dict[Kind, Pair] = {}
    noise = None
    if timed.rounds:
        for kind in kinds:
            first, second = (_seconds(timed, label, kind) for label in (BEFORE, AFTER))
            pairs[kind] = Pair(Quartiles.of(first), Quartiles.of(second), Quartiles.of(second / first))
        noise = Quartiles.of(_seconds(timed, BEFORE, "twin") / _seconds(timed, BEFORE, "dense"))
    return Latency(describe_machine(), timed.rounds, timed.refused, timed.noisy, noise, pairs)


def _seconds(timed: Timed[Form], label: str, kind: Kind) -> NDArray[np.float64]:
    return np.array(timed.seconds[Form(label, kind)])
