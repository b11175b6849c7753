"""The order of the stages, and how long each took."""

from dataclasses import dataclass
from time import perf_counter

import numpy as np
from numpy.typing import NDArray

from service.artifact.golden import Replay
from service.artifact.manifest import Manifest
from service.backends.protocol import Backend
from service.pipeline.decode import decode
from service.pipeline.letterbox import Letterbox
from service.pipeline.options import Options, golden_options
from service.pipeline.postprocess import detections_in_source, select_candidates
from service.pipeline.routing import compute_cost, read_experts
from service.types import Compute, Detections, ExpertActivation, RawOutputs, Timings


@dataclass(frozen=True)
class Detected:
    """Everything that is known about one image."""

    image_hw: tuple[int, int]
    detections: Detections
    experts: tuple[ExpertActivation, ...]
    compute: Compute
    timings: Timings


def detect(
    data: bytes, manifest: Manifest, backend: Backend, options: Options, *, max_pixels: int, queued_at: float
) -> Detected:
    """Bytes to detections and expert activations.

    Args:
        data: one image file.
        manifest: of the model that the backend runs.
        backend: runs the graph.
        options: what to report, and how many experts to run.
        max_pixels: largest image to decode.
        queued_at: when the bytes were complete, by `time.perf_counter`.

    Raises:
        EmptyImage, UnsupportedImage, ImageTooLarge, UndecodableImage: the caller's bytes.
        BackendFailed: the engine's fault.
    """
    started = perf_counter()
    image = decode(data, max_pixels)
    decoded = perf_counter()
    letterbox, canvas = _preprocess(image, manifest)
    preprocessed = perf_counter()
    outputs = backend.infer(canvas, options.top_k, options.weight_threshold)
    inferred = perf_counter()
    detections = _postprocess(outputs, manifest, options, letterbox, _hw(image))
    experts = read_experts(outputs, manifest)
    compute = compute_cost(experts, manifest)
    done = perf_counter()
    timings = Timings(
        decode_s=decoded - started,
        queue_s=started - queued_at,
        preprocess_s=preprocessed - decoded,
        infer_s=inferred - preprocessed,
        postprocess_s=done - inferred,
        total_s=done - queued_at,
    )
    return Detected(_hw(image), detections, experts, compute, timings)


def replay_golden(image: NDArray[np.uint8], manifest: Manifest, backend: Backend) -> Replay:
    """Run the same stages on the golden picture, (H, W, 3) RGB, with the settings it was made with."""
    options = golden_options(manifest)
    letterbox, canvas = _preprocess(image, manifest)
    outputs = backend.infer(canvas, options.top_k, options.weight_threshold)
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
