"""Measure how an exported graph routes images, and write this as the baseline for servers."""

import logging
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from training.config import Resize
from training.data.evaluation import on_canvas
from training.data.images.reduced_jpeg import Fit
from training.data.sample import Sample
from training.export.contract.controls import THRESHOLD, TOP_K
from training.export.contract.tensors import GATES, ROUTER_PROBS, Arrays
from training.models.mixture.routing import RoutingControls
from training.progress import bar

# N images · L mixture layers · E experts of the widest layer · S settings of the controls

ROUTING_FILE = "routing.npz"
LEAST_LOG = -7.0  # smaller log-probabilities are noise: such an expert has a probability below 0.001
SAME_WITHIN = 4.0  # standard deviations by which the routing of training images may differ by chance


class Images(Protocol):
    """Images with an index, such as those of a labelled data set."""

    def __len__(self) -> int: ...

    def load(self, index: int, fit: Fit | None = None) -> Sample:
        """Return an image, as Dataset.load does; its labels are not used."""
        ...


Run = Callable[[NDArray[np.uint8], RoutingControls], Arrays]
"""A function that runs one model input, (H, W, 3), and returns the outputs of a batch of 1 by role."""

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class RoutingFile:
    """The routing of images by one graph, at several settings of its controls."""

    data: str  # the data sets of the images
    settings: tuple[Mapping[str, float], ...]  # S; each the controls by name; the default first
    log_probs: NDArray[np.float16]  # (S, N, L, E) log of the routers' probabilities, at least LEAST_LOG
    sets: NDArray[np.uint64]  # (S, N, L) chosen experts: bit e is set if expert e ran

    def rows(self) -> dict[str, Any]:
        """Return the entry `routing` of a manifest's baseline."""
        settings = [dict(each) for each in self.settings]
        return {"file": ROUTING_FILE, "data": self.data, "images": self.sets.shape[1], "settings": settings}

    def write(self, path: Path) -> None:
        """Write the file; `path` ends in .npz."""
        np.savez_compressed(path, log_probs=self.log_probs, sets=self.sets)


@dataclass(frozen=True)
class Graph:
    """A graph to measure: how to run it, its model input, and the top_k values that it accepts."""

    run: Run
    input_hw: tuple[int, int]
    resize: Resize
    controls: RoutingControls  # the default
    top_ks: Sequence[int]
    control_names: Sequence[str] = (TOP_K, THRESHOLD)  # the controls that the graph has

    @property
    def settings(self) -> tuple[RoutingControls, ...]:
        """Return the default setting, then the same setting with every other top_k."""
        others = [k for k in sorted(self.top_ks) if k != self.controls.top_k]
        return (self.controls, *(self.controls._replace(top_k=k) for k in others))

    def named(self, controls: RoutingControls) -> dict[str, float]:
        """Return a setting by the names of the graph's controls."""
        return {name: getattr(controls, name) for name in self.control_names}


def measure_routing(
    graph: Graph, measured: tuple[str, Images], training: tuple[str, Images] | None, count: int
) -> RoutingFile:
    """Return the routing of up to `count` images, evenly spread over the data.

    The images are those of `measured`, which the model was not trained on. If there are fewer than `count`,
    training images are added, unless the routers treat them differently: a model that has learnt its
    training images by heart may route them with more certainty than others.

    Args:
        measured: a data set's name and images.
        training: name and images of the training data; None if there are none.
        count: number of images; with more images, smaller differences can be seen, but time and file grow.
    """
    (name, dataset), names = measured, []
    parts = [_routed(graph, dataset, count)]
    names.append(name)
    missing = count - len(dataset)
    if training is not None and missing > 0:
        more = _routed(graph, training[1], missing)
        if told_apart(parts[0][0][0], more[0][0]):
            log.info("the routers treat training images differently, so the baseline holds none of them")
        else:
            parts.append(more)
            names.append(f"{len(more[0][0])} training images of {training[0]}")
    log_probs, sets = (np.concatenate(each, axis=1) for each in zip(*parts, strict=True))
    return RoutingFile(" + ".join(names), tuple(map(graph.named, graph.settings)), log_probs, sets)


def told_apart(one: NDArray[np.floating], other: NDArray[np.floating]) -> bool:
    """Return whether the mean routing of two groups of images differs by more than chance explains.

    The statistic is Hotelling's T² between the means of the log-probabilities, (N, L, E). With few images,
    the result is False.
    """
    first, second = (_contrasts(each) for each in (one, other))
    if min(len(first), len(second)) < 4 * first.shape[1]:
        return False
    pooled = np.cov(np.concatenate([first - first.mean(0), second - second.mean(0)]).T)
    pooled += np.eye(len(pooled)) * (0.02 * pooled.trace() / len(pooled) + 1e-6)
    shift = first.mean(0) - second.mean(0)
    t2 = shift @ np.linalg.solve(pooled, shift) / (1 / len(first) + 1 / len(second))
    degrees = len(pooled)
    return bool(t2 > degrees + SAME_WITHIN * (2 * degrees) ** 0.5)


def _contrasts(log_probs: NDArray[np.floating]) -> NDArray[np.float64]:
    """Return log-probabilities (N, L, E) relative to each layer's mean, without the last expert."""
    centred = log_probs - log_probs.mean(axis=-1, keepdims=True, dtype=np.float64)
    return centred[..., :-1].reshape(len(log_probs), -1)


def _routed(graph: Graph, dataset: Images, count: int) -> tuple[NDArray[np.float16], NDArray[np.uint64]]:
    """Return log_probs and sets of up to `count` images at every setting; see RoutingFile."""
    rows = [list(row) for row in zip(*_runs(graph, dataset, count), strict=True)]
    log_probs = np.array([[probs for probs, _ in row] for row in rows], dtype=np.float16)
    sets = np.array([[chosen for _, chosen in row] for row in rows], dtype=np.uint64)
    return log_probs, sets


def _runs(
    graph: Graph, dataset: Images, count: int
) -> Iterator[list[tuple[NDArray[np.float32], NDArray[np.uint64]]]]:
    """Yield for each image the routing at each setting: log-probabilities (L, E) and chosen sets (L,)."""
    indices = np.linspace(0, len(dataset) - 1, min(count, len(dataset))).round().astype(int)
    fit = Fit(graph.input_hw, graph.resize)
    with bar(len(indices), "image", "baseline") as progress:
        for index in indices:
            sample = dataset.load(int(index), fit)
            canvas = on_canvas(sample.image, graph.input_hw, graph.resize, sample.reduced)
            yield [_routing(graph.run(canvas, controls)) for controls in graph.settings]
            progress.update()


def _routing(outputs: Arrays) -> tuple[NDArray[np.float32], NDArray[np.uint64]]:
    probs, gates = outputs[ROUTER_PROBS][0], outputs[GATES][0]  # (L, E) each
    bits = (1 << np.arange(gates.shape[-1], dtype=np.uint64))[None]
    sets = np.where(gates > 0, bits, np.uint64(0)).sum(axis=-1, dtype=np.uint64)
    with np.errstate(divide="ignore"):
        return np.maximum(np.log(probs), LEAST_LOG), sets
