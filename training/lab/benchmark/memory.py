"""Measure the memory of processes that have loaded a model's graphs, each in a fresh process."""

import json
import logging
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

import training
from training.errors import ConfigError
from training.export.graph.shared_weights import WEIGHTS_FILE
from training.export.proof.openvino_engine import HINTS
from training.export.targets.openvino import OPENVINO
from training.export.targets.paths import build_paths
from training.lab.benchmark import loaded
from training.lab.benchmark.command import BenchmarkOptions, subjects_of
from training.lab.benchmark.eight_bit import export_source, silent
from training.lab.benchmark.engines import BenchmarkPrecision, Inputs, require_engine
from training.lab.benchmark.graphs import Graphs
from training.lab.benchmark.machine import describe_machine
from training.lab.benchmark.subjects import Form, Subject
from training.progress import bar

PROCESSES = 5  # for each row
MB = 2**20

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Case:
    """What the processes of one row load, and what they only read, as a gateway reads routes for later."""

    label: str
    what: str
    precision: BenchmarkPrecision
    graphs: tuple[Path, ...]
    read: tuple[Path, ...]
    inputs: Inputs
    weights: Path | None = None  # of the routes, which share them; the other graphs have their own

    @property
    def files(self) -> list[Path]:
        """Return all files, each once."""
        own = [each for path in (*self.graphs, *self.read) for each in (path, path.with_suffix(".bin"))]
        return [each for each in own if each.exists()] + ([self.weights] if self.weights else [])


@dataclass(frozen=True)
class Spread:
    """A quantity over several processes."""

    least: float
    median: float
    most: float

    @classmethod
    def of(cls, values: Sequence[float]) -> "Spread":
        """Return the spread of at least one value."""
        return cls(min(values), float(np.median(values)), max(values))


@dataclass(frozen=True)
class MemoryRow:
    """The memory of processes that have loaded the same graphs, in MB of 2^20 bytes."""

    label: str
    what: str
    precision: BenchmarkPrecision
    graphs: int  # loaded
    files_mb: float  # of all graphs that are loaded or read
    rss_mb: Spread
    own_mb: Spread  # heaps, stacks and changed pages; the rest of RSS are pages of files, such as code


@dataclass(frozen=True)
class MemoryReport:
    """The memory of every model, in every precision."""

    machine: str
    input_hws: tuple[tuple[int, int], ...]  # of all models
    threads: int
    processes: int  # for each row
    empty: Spread  # RSS of a process with the engine and no graph
    rows: tuple[MemoryRow, ...]


def measure_memory(options: BenchmarkOptions) -> MemoryReport:
    """Build the OpenVINO graphs of models, and measure the memory of processes that have loaded them.

    Raises:
        ConfigError: this system does not state the memory of a process, or an option is for times only.
        TrainingError: a graph could not be built.
    """
    _check(options)
    for precision in options.precisions:
        require_engine("openvino", precision)
    subjects, threads = subjects_of(options), options.threads[0]
    with tempfile.TemporaryDirectory(prefix="benchmark-") as folder:
        graphs = Graphs(Path(folder), subjects, {})
        cases = []
        for one in subjects.values():
            routes: dict[bool, Path] = {}
            for precision in options.precisions:
                if one.model.config.paths is None:
                    cases += list(_plain_cases(graphs, one, precision))
                else:
                    eight = precision == "int8"
                    if eight not in routes:
                        routes[eight] = _build_routes(one, eight, Path(folder) / f"{one.label}-{eight}")
                    cases += list(_path_cases(graphs, one, precision, routes[eight]))
        empty = Case("", "", "f32", (), (), {})
        seen = _measure([empty, *cases], threads, Path(folder))
        rows = tuple(_row(case, taken) for case, taken in zip(cases, seen[1:], strict=True))
    sizes = tuple(dict.fromkeys(one.model.config.input_hw for one in subjects.values()))
    nothing = Spread.of([each["rss_mb"] for each in seen[0]])
    return MemoryReport(describe_machine(), sizes, threads, PROCESSES, nothing, rows)


def _check(options: BenchmarkOptions) -> None:
    usual = BenchmarkOptions()
    for name, flag in (("engines", "engine"), ("peers", "peer"), ("batches", "batch")):
        if getattr(options, name) != getattr(usual, name):
            raise ConfigError(f"--memory is measured with OpenVINO and without peers; leave --{flag} out")
    if options.profile or options.throughput:
        raise ConfigError("--memory measures no times; leave --profile and --throughput out")
    if len(options.threads) > 1:
        raise ConfigError("--memory is measured with one number of threads; give --threads once")
    if not loaded.STATUS.is_file():
        raise ConfigError(f"--memory reads {loaded.STATUS}, which only Linux has")


def _plain_cases(graphs: Graphs, subject: Subject, precision: BenchmarkPrecision) -> Iterator[Case]:
    """Yield the cases of a model with one graph, which holds all experts and every top_k."""
    config = subject.model.config
    forms = [Form(subject.label, "dense")]
    if subject.top_ks:
        forms.append(Form(subject.label, "sparse", config.top_k))
    for form in forms:
        source, inputs = graphs.source(form, "openvino", precision), graphs.inputs(form)
        assert isinstance(source, Path)
        yield Case(subject.label, form.kind, precision, (source,), (), inputs)


def _build_routes(subject: Subject, eight: bool, folder: Path) -> Path:
    """Write the router and all routes of a network with paths as an export does; return the folder."""
    spec, source = export_source(subject.model, "dense", "int8" if eight else "f32", images=2)
    folder.mkdir()
    with silent():
        build_paths(OPENVINO, folder, spec, source)
    return folder


def _path_cases(
    graphs: Graphs, subject: Subject, precision: BenchmarkPrecision, folder: Path
) -> Iterator[Case]:
    """Yield a case with all routes loaded, and one with only those of the default top_k loaded."""
    config = subject.model.config
    inputs = graphs.inputs(Form(subject.label, "sparse", config.top_k))
    router = folder / "router.xml"
    routes = sorted(folder.glob("path*.xml"))
    usual = [path for path in routes if path.stem.endswith(f"-k{config.top_k}")]
    spare = tuple(path for path in routes if path not in usual)
    weights = folder / WEIGHTS_FILE
    yield Case(subject.label, "all routes", precision, (router, *routes), (), inputs, weights)
    if not spare:
        return
    what = f"routes of K={config.top_k}"
    yield Case(subject.label, what, precision, (router, *usual), spare, inputs, weights)


def _measure(cases: Sequence[Case], threads: int, folder: Path) -> list[list[Mapping[str, float]]]:
    """Run PROCESSES fresh processes for each case, in turns, and return what each process measured."""
    seen: list[list[Mapping[str, float]]] = [[] for _ in cases]
    with bar(PROCESSES * len(cases), "process", "memory") as progress:
        for number in range(PROCESSES):
            for case, taken in zip(cases, seen, strict=True):
                taken.append(_in_process(case, threads, folder / "inputs.npz"))
                progress.update()
            log.debug(f"turn {number + 1}: {[each[-1] for each in seen]}")
    return seen


def _in_process(case: Case, threads: int, inputs: Path) -> Mapping[str, float]:
    np.savez(inputs, **case.inputs)  # type: ignore[arg-type]
    command = [sys.executable, "-m", loaded.__name__, inputs, HINTS[case.precision], threads, *case.graphs]
    if case.read:
        command += ["--read", *case.read]
    if case.weights is not None:
        command += ["--weights", case.weights]
    root = Path(training.__file__).parents[1]  # where Python finds this module
    done = subprocess.run(list(map(str, command)), cwd=root, capture_output=True, text=True, check=False)
    if done.returncode:
        raise ConfigError(f"{case.label}, {case.what}, could not be loaded: {done.stderr.strip()[-500:]}")
    measured: dict[str, float] = json.loads(done.stdout)
    return measured


def _row(case: Case, taken: Sequence[Mapping[str, float]]) -> MemoryRow:
    return MemoryRow(
        case.label,
        case.what,
        case.precision,
        len(case.graphs),
        sum(path.stat().st_size for path in case.files) / MB,
        Spread.of([each["rss_mb"] for each in taken]),
        Spread.of([each["own_mb"] for each in taken]),
    )
