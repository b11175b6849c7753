"""The command `python -m training pareto`."""

import logging
import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from statistics import fmean

import numpy as np
from numpy.typing import NDArray

from training.config import ModelConfig
from training.data.evaluation import Truth
from training.data.images.letterbox import letterbox_image
from training.data.sample import Dataset
from training.data_config import DataConfig
from training.errors import ConfigError
from training.evaluate.evaluator import check_classes
from training.evaluate.mean_ap import mean_average_precision
from training.evaluate.objects.kinds import kind_of
from training.lab.benchmark.engines import FloatPrecision, Run, require_engine
from training.lab.benchmark.graphs import peer_inputs
from training.lab.benchmark.machine import describe_machine
from training.lab.pareto.candidates import Candidate, Setting, settings_of
from training.lab.pareto.points import Matched, Point, match_at_equal_map, pareto_front
from training.lab.pareto.timing import THREADS, prepare_candidate, prepare_peers
from training.models.cost import measure_cost
from training.models.mixture.routing import RoutingControls
from training.rounds import Timed, time_with_progress
from training.trainer.checkpoint import load_detector
from training.workflows.dataset_config import check_keypoints, described
from training.workflows.kept_measurement import Measurement, hash_of_images, measure_once
from training.workflows.measure import labelled_for

DENSE_ENDING = " dense"  # of the series of a model with experts, with all of them computed
Key = tuple[str, Setting | None]  # label of a model, or of another detector without a setting
_Twin = tuple[Key, bool]  # True: runs the same again, to measure the noise

log = logging.getLogger(__name__)


@dataclass(frozen=True, kw_only=True)
class ParetoOptions:
    """The options of `pareto`."""

    top_ks: tuple[int, ...] = ()  # empty: all that a model allows
    weight_thresholds: tuple[float, ...] = ()  # empty: as trained
    peers: tuple[Path, ...] = ()  # ONNX files of other detectors
    peer_maps: tuple[tuple[str, float], ...] = ()  # name of a peer, and its mAP50-95 on the same images
    against: tuple[tuple[str, str], ...] = ()  # pairs of series
    precision: FloatPrecision = "f32"
    rounds: int = 30
    timed_images: int = 8


@dataclass(frozen=True)
class Pareto:
    """The points of all models, their Pareto front, and the throughput at equal mAP."""

    machine: str
    data: str
    metric: str  # such as mAP, or mask mAP
    images: int
    timed_images: int
    precision: FloatPrecision
    threads: int
    rounds: int  # kept
    refused: int
    noisy: bool
    points: tuple[Point, ...]
    front: tuple[Point, ...]
    matched: Mapping[tuple[str, str], tuple[Matched, ...]]  # by pair of series
    left_out: tuple[str, ...]


def pareto(
    candidates: Sequence[Candidate],
    data: DataConfig,
    options: ParetoOptions,
    *,
    left_out: tuple[str, ...] = (),
) -> Pareto:
    """Measure the accuracy of every model in every setting, then time all of them in turn.

    A checkpoint that was measured before on the same images, with the same experts, is not measured again.

    Raises:
        ConfigError: an option does not suit the models, or another detector cannot run.
        CheckpointError: a checkpoint is damaged.
        DatasetError: the data does not suit the models.
    """
    require_engine("openvino", options.precision)
    settings = {
        each.label: settings_of(each, options.top_ks, options.weight_thresholds) for each in candidates
    }
    maps = _check_peers(candidates, options)
    _check_pairs(candidates, options)
    dataset = _open_for_all(candidates, data)
    log.info(f"measuring on {described(data)}")
    measured = _measure(candidates, settings, dataset)
    timed = _time(candidates, settings, dataset, options)
    points = _points(candidates, measured, timed, maps)
    return Pareto(
        machine=describe_machine(),
        data=described(data),
        metric=kind_of(candidates[0].config).score,
        images=len(dataset),
        timed_images=min(options.timed_images, len(dataset)),
        precision=options.precision,
        threads=THREADS,
        rounds=timed.rounds,
        refused=timed.refused,
        noisy=timed.noisy,
        points=points,
        front=tuple(pareto_front(points)),
        matched={pair: tuple(match_at_equal_map(points, *pair)) for pair in options.against},
        left_out=left_out,
    )


def _series(label: str, config: ModelConfig, setting: Setting) -> str:
    return f"{label}{DENSE_ENDING}" if config.mixtures and setting.execution == "dense" else label


def _peer_paths(options: ParetoOptions) -> dict[str, Path]:
    return {path.stem: path for path in options.peers}


def _check_peers(candidates: Sequence[Candidate], options: ParetoOptions) -> dict[str, float]:
    """Return the known mAP50-95 of other detectors by name; raise ConfigError if one cannot be used."""
    paths = _peer_paths(options)
    names = [*(each.label for each in candidates), *(path.stem for path in options.peers)]
    if twice := next((name for name in names if names.count(name) > 1), None):
        raise ConfigError(f"two models or peers are called {twice}; rename the peer's file")
    for path in options.peers:
        if not path.is_file():
            raise ConfigError(f"no peer at {path}")
        peer_inputs(path, candidates[0].config.input_hw)  # raises if an input is not an image
    for name, _ in options.peer_maps:
        if name not in paths:
            raise ConfigError(f"--peer-map {name}: no --peer is called so; {_one_of(list(paths))}")
    return dict(options.peer_maps)


def _check_pairs(candidates: Sequence[Candidate], options: ParetoOptions) -> None:
    known = [each.label for each in candidates]
    known += [f"{each.label}{DENSE_ENDING}" for each in candidates if each.config.mixtures]
    known += [name for name, _ in options.peer_maps]
    for name in (name for pair in options.against for name in pair):
        if name not in known:
            raise ConfigError(f"--against {name}: nothing with a known mAP is called so; {_one_of(known)}")


def _one_of(names: Sequence[str]) -> str:
    return "there is none" if not names else f"give one of: {', '.join(names)}"


def _open_for_all(candidates: Sequence[Candidate], data: DataConfig) -> Dataset:
    """Open the data set for the first model, and check that it suits the others."""
    model, _ = load_detector(candidates[0].checkpoints[0])
    dataset = labelled_for(model, data)
    for one, other in pairwise(candidates):
        if one.config.class_names != other.config.class_names:
            both = f"{one.label} and {other.label}"
            raise ConfigError(f"{both} have different classes; give models for the same classes")
    for each in candidates:
        check_classes(each.config.class_names, dataset.class_names)
        check_keypoints(each.config.skeleton, dataset.skeleton)
    return dataset


def _measure(
    candidates: Sequence[Candidate], settings: Mapping[str, Sequence[Setting]], dataset: Dataset
) -> dict[tuple[str, Setting], tuple[list[float], float]]:
    """Return the mAP50-95 of each seed, and the mean of the used GFLOPs, by model and setting."""
    truths, images = [Truth.of(dataset.load(index)) for index in range(len(dataset))], hash_of_images(dataset)
    found = {}
    for each in candidates:
        names, kind = each.config.class_names, kind_of(each.config)
        every_expert = measure_cost(load_detector(each.checkpoints[0])[0]).dense
        by_controls: dict[RoutingControls, tuple[list[float], float]] = {}
        for setting in settings[each.label]:
            controls = RoutingControls(setting.top_k, setting.weight_threshold)
            if controls not in by_controls:
                seeds: list[Measurement] = [
                    measure_once(checkpoint, dataset, images, controls) for checkpoint in each.checkpoints
                ]
                maps = [mean_average_precision(truths, one.detections, names, kind).map50_95 for one in seeds]
                by_controls[controls] = maps, fmean(one.gflops for one in seeds)
            maps, used = by_controls[controls]
            found[each.label, setting] = maps, used if setting.execution == "sparse" else every_expert
    return found


def _time(
    candidates: Sequence[Candidate],
    settings: Mapping[str, Sequence[Setting]],
    dataset: Dataset,
    options: ParetoOptions,
) -> Timed[Key]:
    """Return the seconds of each model in each setting, and of each other detector, for one image."""
    samples = _timed_samples(dataset, options.timed_images)
    runs: dict[_Twin, Run] = {}
    images: dict[Key, int] = {}
    twins: list[tuple[_Twin, _Twin]] = []
    with tempfile.TemporaryDirectory(prefix="pareto-") as folder:
        peers = prepare_peers(_peer_paths(options), candidates[0].config.input_hw, options.precision)
        for label, run in peers.items():
            runs[(label, None), False], images[label, None] = run, 1
        for each in candidates:
            canvases = [letterbox_image(image, each.config.input_hw)[0] for image in samples]
            prepared = prepare_candidate(
                each, settings[each.label], canvases, Path(folder), options.precision
            )
            for setting, run in prepared.items():
                runs[(each.label, setting), False] = run
                images[each.label, setting] = len(canvases) * len(each.checkpoints)
            first = (each.label, settings[each.label][0])
            runs[first, True] = runs[first, False]
            twins.append(((first, False), (first, True)))
        log.info(f"timing {len(images)} points in turn, on {len(samples)} images")
        timed = time_with_progress(runs, twins, options.rounds, f"openvino {options.precision}")
    seconds = {
        key: tuple(each / images[key] for each in values)
        for (key, twin), values in timed.seconds.items()
        if not twin
    }
    return Timed(seconds, timed.rounds, timed.refused, timed.noisy)


def _timed_samples(dataset: Dataset, count: int) -> list[NDArray[np.uint8]]:
    """Return up to `count` images, evenly spread over the data set."""
    count = min(count, len(dataset))
    return [dataset.load(index * len(dataset) // count).image for index in range(count)]


def _points(
    candidates: Sequence[Candidate],
    measured: Mapping[tuple[str, Setting], tuple[list[float], float]],
    timed: Timed[Key],
    maps: Mapping[str, float],
) -> tuple[Point, ...]:
    """Return one point for each model and setting, then one for each other detector."""
    if not timed.rounds:
        return ()
    configs, found = {each.label: each.config for each in candidates}, []
    for (label, setting), (scores, gflops) in measured.items():
        seconds = timed.seconds[label, setting]
        config, series = configs[label], _series(label, configs[label], setting)
        chosen = setting if config.mixtures else None
        found.append(Point(series, chosen, config.input_hw, tuple(scores), gflops, seconds))
    for (label, none), seconds in timed.seconds.items():
        if none is None:
            known = (maps[label],) if label in maps else ()
            found.append(Point(label, None, None, known, None, seconds))
    return tuple(found)
