"""The order of the stages, and how long each took."""

from collections.abc import Mapping
from dataclasses import dataclass
from functools import partial
from time import perf_counter

import numpy as np
from numpy.typing import NDArray

from service.artifact.golden import Replay
from service.artifact.manifest import InputSpec, Manifest
from service.backends.protocol import Backend, Call
from service.backends.threads import Threads
from service.metrics import Metrics
from service.pipeline.decode import decode
from service.pipeline.letterbox import Letterbox
from service.pipeline.options import Options, Wishes, golden_options, resolve
from service.pipeline.postprocess import detections_in_source, select_candidates
from service.pipeline.routing import compute_cost, read_experts
from service.traffic.lanes import Inputs, Lane
from service.traffic.select import Choice, Wanted, answer_by_first
from service.types import Compute, Detections, ExpertActivation, RawOutputs, Timings


@dataclass(frozen=True)
class Detected:
    """Everything that is known about one image."""

    choice: Choice  # who answered
    options: Options
    image_hw: tuple[int, int]
    detections: Detections
    experts: tuple[ExpertActivation, ...]
    compute: Compute
    timings: Timings


@dataclass(frozen=True, kw_only=True)
class Task:
    """What is the same for every image of a request."""

    lanes: Mapping[str, Lane]  # of the model, preferred first
    wanted: Wanted
    wishes: Wishes
    threads: Threads
    max_pixels: int
    metrics: Metrics


async def detect(data: bytes, task: Task, call: Call) -> Detected:
    """Bytes to detections and expert activations.

    Args:
        data: one image file.
        task: which model, where, and what to report.
        call: for whom, and until when.

    Raises:
        EmptyImage, UnsupportedImage, ImageTooLarge, UndecodableImage: the caller's bytes.
        InvalidParameter: the version that is in force cannot do what is wished.
        BackendBusy, BackendUnavailable, BackendFailed: no backend answered.
        DeadlineExceeded: none did in time.
    """
    picture = _Picture(data, task.max_pixels)

    async def attempt(choice: Choice) -> Detected:
        manifest = choice.offer.manifest
        options = resolve(task.wishes, manifest)
        canvas = await task.threads.run(call, partial(picture.fit, manifest, perf_counter()))
        sent = perf_counter()
        inputs = Inputs(canvas, options.top_k, options.weight_threshold)
        outputs, wait_s = await choice.lane.infer(choice.offer, inputs, call, movable=choice.movable)
        picture.infer_s = perf_counter() - sent - wait_s
        picture.queue_s += wait_s
        return await task.threads.run(call, partial(picture.read, outputs, choice, options))

    return await answer_by_first(task.lanes, task.wanted, attempt, task.metrics.failed_over, call)


class _Picture:
    """One image on its way through the stages, and how long each took.

    It is decoded once, and fitted again only if another backend's version wants another canvas. The methods
    are run in a thread, one after the other.
    """

    def __init__(self, data: bytes, max_pixels: int) -> None:
        self._begun = perf_counter()
        self._data = data
        self._max_pixels = max_pixels
        self._image: NDArray[np.uint8] | None = None
        self._fitted: tuple[InputSpec, Letterbox, NDArray[np.uint8]] | None = None
        self.queue_s = self.infer_s = self._decode_s = self._preprocess_s = 0.0

    def fit(self, manifest: Manifest, queued_at: float) -> NDArray[np.uint8]:
        """Return the model's canvas, (1, H, W, 3)."""
        started = perf_counter()
        self.queue_s += started - queued_at
        if self._image is None:
            self._image = decode(self._data, self._max_pixels)
            self._decode_s = perf_counter() - started
        if self._fitted is None or self._fitted[0] != manifest.input:
            decoded = perf_counter()
            self._fitted = (manifest.input, *_preprocess(self._image, manifest))
            self._preprocess_s = perf_counter() - decoded
        return self._fitted[2]

    def read(self, outputs: RawOutputs, choice: Choice, options: Options) -> Detected:
        """Return what was found."""
        started = perf_counter()
        assert self._image is not None
        assert self._fitted is not None
        manifest, image_hw = choice.offer.manifest, _hw(self._image)
        detections = _postprocess(outputs, manifest, options, self._fitted[1], image_hw)
        experts = read_experts(outputs, manifest)
        compute = compute_cost(experts, manifest)
        done = perf_counter()
        timings = Timings(
            decode_s=self._decode_s,
            queue_s=self.queue_s,
            preprocess_s=self._preprocess_s,
            infer_s=self.infer_s,
            postprocess_s=done - started,
            total_s=done - self._begun,
        )
        return Detected(choice, options, image_hw, detections, experts, compute, timings)


async def replay_golden(image: NDArray[np.uint8], manifest: Manifest, backend: Backend, call: Call) -> Replay:
    """Run the same stages on the golden picture, (H, W, 3) RGB, with the settings it was made with."""
    options = golden_options(manifest)
    letterbox, canvas = _preprocess(image, manifest)
    outputs = await backend.infer(canvas, options.top_k, options.weight_threshold, call)
    return Replay(canvas, outputs, _postprocess(outputs, manifest, options, letterbox, _hw(image)))


def _preprocess(image: NDArray[np.uint8], manifest: Manifest) -> tuple[Letterbox, NDArray[np.uint8]]:
    input_hw = (manifest.input.height, manifest.input.width)
    letterbox = Letterbox.fit(_hw(image), input_hw)
    return letterbox, letterbox.apply(image, input_hw, manifest.input.resize.pad_value)


def _postprocess(
    outputs: RawOutputs,
    manifest: Manifest,
    options: Options,
    letterbox: Letterbox,
    source_hw: tuple[int, int],
) -> Detections:
    return detections_in_source(
        select_candidates(outputs, manifest.outputs),
        letterbox,
        source_hw,
        conf=options.conf,
        iou=options.iou,
        max_det=options.max_det,
        class_ids=options.class_ids,
    )


def _hw(image: NDArray[np.uint8]) -> tuple[int, int]:
    return image.shape[0], image.shape[1]
