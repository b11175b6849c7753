"""Runs images through the service, in this process, and keeps how they were routed and what was found."""

from collections.abc import AsyncIterator, Iterable, Iterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass, fields
from pathlib import Path

import cv2
import numpy as np
from numpy.typing import NDArray
from prometheus_client import CollectorRegistry

from service.artifact.routing_file import MeasuredRouting
from service.metrics import Metrics
from service.observe.protocol import Answered
from service.pipeline.decode import decode
from service.request import DetectParams, RequestContext
from service.routing.reference import Layers, RoutedImages
from service.serving.detect import DetectService
from service.serving.open import open_models
from service.settings import Settings
from tests.drift.shifts import Pixels, Shift

MAX_PIXELS = 40_000_000
TIMEOUT_S = 120
CONFIDENT = 0.25

# N images · L mixture layers · E experts of the widest layer


@dataclass(frozen=True)
class Routed:
    """The routing and the answers of N images."""

    log_probs: NDArray[np.float32]  # (N, L, E)
    sets: NDArray[np.uint64]  # (N, L)
    entropy_bits: NDArray[np.float64]  # (N, L)
    confidence: NDArray[np.float64]  # (N,) of the best detection; 0 without one
    mean_confidence: NDArray[np.float64]  # (N,) of all detections above CONFIDENT
    objects: NDArray[np.float64]  # (N,) number of detections above CONFIDENT
    brightness: NDArray[np.float64]  # (N,) mean of all pixels, 0..255
    contrast: NDArray[np.float64]  # (N,) deviation of all pixels
    origin: NDArray[np.int64]  # (N,) number of the data set

    def __len__(self) -> int:
        return len(self.log_probs)

    def take(self, places: NDArray[np.int64]) -> "Routed":
        """Return the images at some positions."""
        return Routed(**{each.name: getattr(self, each.name)[places] for each in fields(self)})

    def joined(self, other: "Routed") -> "Routed":
        """Return these images and those of another group."""
        pairs = {each.name: (getattr(self, each.name), getattr(other, each.name)) for each in fields(self)}
        return Routed(**{name: np.concatenate(pair) for name, pair in pairs.items()})

    def measured(self) -> MeasuredRouting:
        """Return the routing as an artifact's baseline holds it."""
        return MeasuredRouting({}, self.log_probs, self.sets)

    def images(self, layers: Layers) -> RoutedImages:
        """Return the routing of the images as the service compares it."""
        contrasts = layers.contrasts(self.log_probs, range(len(layers.names)))
        return RoutedImages(contrasts, self.sets, self.entropy_bits)


class Runner:
    """The service in this process, with one model; use it as `async with`."""

    def __init__(self, service: DetectService) -> None:
        self._service = service
        self.layers = Layers.of(service.choose(DetectParams()).manifest)

    async def run(self, files: Iterable[tuple[int, bytes]]) -> Routed:
        """Return the routing of image files, in order; each has the number of its data set beside it."""
        rows = [(*self._row(await self._answer(data), data), origin) for origin, data in files]
        columns = [np.array(column) for column in zip(*rows, strict=True)]
        return Routed(*columns)

    async def _answer(self, data: bytes) -> Answered:
        context = RequestContext.within(TIMEOUT_S, "drift")
        return await self._service.detect(data, DetectParams(values={"conf": 0.001}), context)

    def _row(self, found: Answered, data: bytes) -> tuple[object, ...]:
        widest = max(self.layers.experts)
        probabilities = np.full((len(found.experts), widest), np.nan, dtype=np.float32)
        for row, layer in enumerate(found.experts):
            probabilities[row, : layer.num_experts] = layer.probabilities
        sets = np.array([sum(1 << e for e in layer.active) for layer in found.experts], dtype=np.uint64)
        scores = np.asarray(found.result.scores, dtype=np.float64)
        confident = scores[scores >= CONFIDENT]
        pixels = decode(data, MAX_PIXELS, None).pixels
        with np.errstate(divide="ignore"):
            logs = np.maximum(np.log(probabilities), -100)
        return (
            logs,
            sets,
            [layer.entropy_bits for layer in found.experts],
            scores.max(initial=0.0),
            confident.mean() if len(confident) else 0.0,
            len(confident),
            pixels.mean(),
            pixels.std(),
        )


@asynccontextmanager
async def running(repository: Path, model: str) -> AsyncIterator[Runner]:
    """Serve a model of a repository in this process during the block, one image at a time."""
    settings = Settings(repository=repository, default_model=model, workers=1, openvino={"threads": 1})
    service = DetectService(settings, Metrics(CollectorRegistry()), ())
    async with open_models(settings, service.models):
        service.loading = ""
        yield Runner(service)
        await service.close()


def shifted(files: Iterable[tuple[int, bytes]], shift: Shift, seed: int) -> Iterator[tuple[int, bytes]]:
    """Yield image files with shifted pixels, as BMP, which loses nothing and takes no time to compress."""
    rng = np.random.default_rng(seed)
    for origin, data in files:
        pixels: Pixels = shift(decode(data, MAX_PIXELS, None).pixels, rng)
        _, encoded = cv2.imencode(".bmp", pixels[..., ::-1])
        yield origin, encoded.tobytes()


def save(path: Path, groups: Mapping[str, Routed]) -> None:
    """Write groups of images into one file, to use them again."""
    arrays = {}
    for name, group in groups.items():
        arrays |= {f"{name}|{each.name}": getattr(group, each.name) for each in fields(group)}
    np.savez_compressed(path, **arrays)


def load(path: Path) -> dict[str, Routed]:
    """Return the groups of images in a file that `save` wrote."""
    with np.load(path, allow_pickle=False) as file:
        names = dict.fromkeys(key.partition("|")[0] for key in file.files)
        own = [each.name for each in fields(Routed)]
        return {name: Routed(**{each: file[f"{name}|{each}"] for each in own}) for name in names}
