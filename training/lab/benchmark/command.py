"""The command `python -m training benchmark`."""

import logging
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass, replace
from itertools import product
from pathlib import Path

from training.errors import ConfigError
from training.lab.benchmark.engines import (
    ON_TORCH,
    BenchmarkPrecision,
    EngineName,
    Run,
    open_engine,
    require_engine,
)
from training.lab.benchmark.graphs import Graphs, peer_inputs
from training.lab.benchmark.machine import describe_machine
from training.lab.benchmark.profile import Profile, profile
from training.lab.benchmark.rows import Group, build_rows
from training.lab.benchmark.subjects import (
    VARIANT_INPUT_HW,
    Form,
    Subject,
    checkpoint,
    forms,
    gflops,
    named_variant,
    time_forms,
)
from training.lab.benchmark.throughput import Throughput, measure_throughput
from training.progress import bar

DEFAULT_VARIANTS = ("yolov12-n", "esmoe-n", "modular-n", "sparsight-n")

log = logging.getLogger(__name__)


@dataclass(frozen=True, kw_only=True)
class BenchmarkOptions:
    """The options of `benchmark`."""

    variants: tuple[str, ...] = ()  # with random weights
    checkpoints: tuple[Path, ...] = ()
    peers: tuple[Path, ...] = ()  # ONNX files of any origin
    input_hw: tuple[int, int] | None = None  # None: 640 × 640, and for a checkpoint its own size
    top_ks: tuple[int, ...] | None = None  # None: one expert, the model's own number and all experts
    batches: tuple[int, ...] = (1,)  # images per run; above 1 only dense
    engines: tuple[EngineName, ...] = ("openvino",)
    precisions: tuple[BenchmarkPrecision, ...] = ("f32",)
    threads: tuple[int, ...] = (1,)
    rounds: int = 30
    profile: bool = False  # openvino: sparse runs, layer by layer
    throughput: bool = False  # openvino: with all cores


@dataclass(frozen=True)
class Benchmark:
    """All measurements of a benchmark."""

    machine: str
    input_hws: tuple[tuple[int, int], ...]  # of all models
    reference: str  # label of the model that all others are compared with
    groups: tuple[Group, ...]
    profiles: tuple[Profile, ...] = ()
    throughputs: tuple[Throughput, ...] = ()

    @property
    def noisy(self) -> bool:
        """Return whether the machine was too busy to measure the requested number of quiet rounds."""
        return any(group.noisy for group in self.groups)


def benchmark(options: BenchmarkOptions) -> Benchmark:
    """Build every graph, then time one group (engine, precision, threads) after the other.

    Raises:
        TrainingError: a step failed; the subclass of the error shows the kind of failure. The times measured
            before the failure are lost.
    """
    combinations = list(product(options.engines, options.precisions, options.threads))
    for engine, precision, _ in combinations:
        require_engine(engine, precision)
    peers, subjects = _peers(options), subjects_of(options)
    if both := sorted(set(peers) & set(subjects)):
        raise ConfigError(f"a peer and a model are called {both[0]}; rename the peer")
    reference = next((label for label, one in subjects.items() if not one.top_ks), next(iter(subjects)))
    counted = {form: count for one in subjects.values() for form, count in gflops(one).items()}
    ours = [form for one in subjects.values() for form in forms(one, options.batches)]
    with tempfile.TemporaryDirectory(prefix="benchmark-") as folder:
        graphs = Graphs(Path(folder), subjects, peers)
        strangers = {
            engine: [Form(label, "peer") for label in peers if engine not in ON_TORCH]
            for engine in options.engines
        }
        for engine, precision, threads in combinations:  # so that a peer that cannot run fails at once
            _prepare(graphs, strangers[engine], engine, precision, threads)
        groups = []
        for engine, precision, threads in combinations:
            if engine in ON_TORCH and peers:
                log.info(f"{engine} cannot run ONNX files: it leaves out the peers")
            runs = _prepare(graphs, [*ours, *strangers[engine]], engine, precision, threads)
            timed = time_forms(runs, subjects, options.rounds, f"{engine} {precision}")
            goals_hold = precision if engine == "openvino" else None
            rows = build_rows(timed, subjects, counted, reference, goals_hold)
            groups.append(Group(engine, precision, threads, timed.rounds, timed.refused, timed.noisy, rows))
        profiles, throughputs = _look_closer(graphs, subjects, options)
    sizes = tuple(dict.fromkeys(one.model.config.input_hw for one in subjects.values()))
    return Benchmark(describe_machine(), sizes, reference, tuple(groups), profiles, throughputs)


def _look_closer(
    graphs: Graphs, subjects: dict[str, Subject], options: BenchmarkOptions
) -> tuple[tuple[Profile, ...], tuple[Throughput, ...]]:
    """Measure and return the profiles and throughputs that `options` requests; both need OpenVINO."""
    profiles, throughputs = list[Profile](), list[Throughput]()
    if "openvino" not in options.engines or not (options.throughput or options.profile):
        return (), ()
    ours = [form for one in subjects.values() for form in forms(one, ()) if form.kind != "twin"]
    for precision in options.precisions:
        sources = {form: (graphs.source(form, "openvino", precision), graphs.inputs(form)) for form in ours}
        if options.throughput:
            log.info(f"throughput, {precision}: {len(ours)} forms in turn")
            throughputs += measure_throughput(sources, precision)
        for form in ours:
            if options.profile and form.kind == "sparse":
                body = (graphs.body(form, precision), graphs.inputs(form))
                bound = sources.get(replace(form, kind="bound"))
                assert form.top_k is not None
                profiles.append(profile(form.label, form.top_k, body, bound, precision, options.threads[0]))
    return tuple(profiles), tuple(throughputs)


def _prepare(
    graphs: Graphs, wanted: Sequence[Form], name: EngineName, precision: BenchmarkPrecision, threads: int
) -> dict[Form, Run]:
    """Build and load the graphs of the forms, and return a function for each that runs it."""
    prepare = open_engine(name, precision, threads)
    runs: dict[Form, Run] = {}
    with bar(len(wanted), "graph", f"build {name} {precision}") as progress:
        for form in wanted:
            source, inputs = graphs.source(form, name, precision), graphs.inputs(form)
            try:
                runs[form] = prepare(source, inputs)
            except Exception as error:  # each engine has its own types, and a peer can hold anything
                if form.kind != "peer":
                    raise
                said = " ".join(str(error).split())
                raise ConfigError(f"{name} cannot run the peer {form.label}: {said}") from error
            progress.update()
    return runs


def subjects_of(options: BenchmarkOptions) -> dict[str, Subject]:
    """Return the models to measure by their labels; raise ConfigError if two have the same label."""
    variants = options.variants if options.variants or options.checkpoints else DEFAULT_VARIANTS
    found: dict[str, Subject] = {}
    for path in options.checkpoints:
        one = checkpoint(path, options.input_hw, options.top_ks)
        if one.label in found:
            raise ConfigError(f"two checkpoints are called {one.label}; rename the folder of one")
        found[one.label] = one
    for variant in dict.fromkeys(variants):
        if variant in found:
            raise ConfigError(f"a checkpoint is called {variant}, like a variant; rename its folder")
        log.info(f"{variant}: building, with random weights")
        found[variant] = named_variant(variant, options.input_hw or VARIANT_INPUT_HW, options.top_ks)
    return found


def _peers(options: BenchmarkOptions) -> dict[str, Path]:
    found: dict[str, Path] = {}
    for path in options.peers:
        if not path.is_file():
            raise ConfigError(f"no peer at {path}")
        peer_inputs(path, options.input_hw or VARIANT_INPUT_HW)  # raises if an input is not an image
        if path.stem in found:
            raise ConfigError(f"two peers are called {path.stem}; rename one")
        found[path.stem] = path
    return found
