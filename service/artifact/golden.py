"""The golden sample: one picture and its answers, replayed before a model may serve."""

import asyncio
import zipfile
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from service.artifact.manifest import Tolerance
from service.artifact.repository import Artifact
from service.errors import ArtifactBroken, ArtifactMismatch
from service.types import Detections, RawOutputs

_ROUTING = ("gates", "router_probs")
_SAME_OBJECT_IOU = 0.5  # pairs a replayed box with its golden one; the tolerance then decides


@dataclass(frozen=True)
class Replay:
    """What this process made of the golden picture."""

    input: NDArray[np.uint8]  # (1, H, W, 3)
    outputs: RawOutputs
    detections: Detections


@dataclass(frozen=True)
class Golden:
    """One picture and what the exporter got from it."""

    image: NDArray[np.uint8]  # (H, W, 3) RGB
    expected: Replay


def load_golden(artifact: Artifact) -> Golden:
    """Read golden.npz, without pickle.

    Raises:
        ArtifactBroken: an array is missing or cannot be read.
    """
    path = artifact.folder / "golden.npz"
    try:
        with np.load(path, allow_pickle=False) as arrays:
            return _golden(artifact, {name: arrays[name] for name in arrays.files})
    except (OSError, ValueError, zipfile.BadZipFile) as error:
        raise ArtifactBroken(f"{path} cannot be read: {error}") from error
    except KeyError as error:
        raise ArtifactBroken(f"{path} has no array {error.args[0]!r}") from error


async def verify_golden(artifact: Artifact, replay: Callable[[NDArray[np.uint8]], Awaitable[Replay]]) -> None:
    """Check that this process reproduces what the exporter recorded.

    Args:
        artifact: the model, its files verified.
        replay: runs the service's own stages on an RGB image with the golden settings.

    Raises:
        ArtifactBroken: the sample cannot be read.
        ArtifactMismatch: names the first tensor that differs, and by how much.
    """
    golden = await asyncio.to_thread(load_golden, artifact)
    got, want = await replay(golden.image), golden.expected
    tolerance = artifact.manifest.golden.tolerance
    _compare("input", got.input, want.input, float(tolerance.input_levels))
    for name in _ROUTING if artifact.manifest.mixture else ():
        _compare(name, got.outputs[name], want.outputs[name], tolerance.gates)
    compare_detections(got.detections, want.detections, artifact.manifest.golden.conf, tolerance)


def compare_detections(got: Detections, want: Detections, conf: float, tolerance: Tolerance) -> None:
    """Compare detections by class and IoU, not row by row: equal scores may swap places.

    A detection whose score is within tolerance of `conf` may be on one side only.

    Raises:
        ArtifactMismatch: a box or score differs, or a detection has no partner.
    """
    free = np.ones(len(got), dtype=bool)
    for i in range(len(want)):
        same = free & (got.class_ids == want.class_ids[i])
        ious = np.where(same, _ious(want.boxes_xyxy[i], got.boxes_xyxy), 0.0)
        best = int(ious.argmax()) if len(ious) else -1
        if best < 0 or not ious[best] >= _SAME_OBJECT_IOU:
            if not abs(want.scores[i] - conf) <= tolerance.scores:
                raise ArtifactMismatch("detections", 1.0, 0.0, f"golden detection {i} was not found")
            continue
        free[best] = False
        limits = tolerance.boxes_px + tolerance.boxes_relative * np.abs(want.boxes_xyxy[i])
        errors = np.abs(got.boxes_xyxy[best].astype(np.float64) - want.boxes_xyxy[i])
        worst = int(np.argmax(errors - limits))
        if not np.all(errors <= limits):
            raise ArtifactMismatch("box", float(errors[worst]), float(limits[worst]), f"detection {i}")
        score_error = abs(float(got.scores[best]) - float(want.scores[i]))
        if not score_error <= tolerance.scores:
            raise ArtifactMismatch("score", score_error, tolerance.scores, f"detection {i}")
    for extra in np.flatnonzero(free):
        if not abs(got.scores[extra] - conf) <= tolerance.scores:
            raise ArtifactMismatch("detections", 1.0, 0.0, f"detection {extra} is not in the golden sample")


def _golden(artifact: Artifact, arrays: dict[str, NDArray[Any]]) -> Golden:
    image = arrays["image"]
    if image.dtype != np.uint8 or image.ndim != 3 or image.shape[-1] != 3:
        raise ValueError(f"image is {image.dtype} {image.shape}, not uint8 (H, W, 3)")
    detections = Detections(
        arrays["det_boxes_xyxy"].astype(np.float32).reshape(-1, 4),
        arrays["det_scores"].astype(np.float32),
        arrays["det_class_ids"].astype(np.int64),
    )
    outputs = {name: arrays[name] for name in artifact.manifest.output_names}
    return Golden(image, Replay(arrays["input"], outputs, detections))


def _compare(name: str, got: NDArray[Any], want: NDArray[Any], limit: float) -> None:
    # The sample's input may be stored with or without its batch axis.
    got, want = (array[0] if array.ndim and array.shape[0] == 1 else array for array in (got, want))
    if got.shape != want.shape:
        raise ArtifactMismatch(name, float("inf"), limit, f"shape {got.shape}, golden {want.shape}")
    error = float(np.abs(got.astype(np.float64) - want.astype(np.float64)).max(initial=0.0))
    if not error <= limit:  # written so that NaN fails too
        raise ArtifactMismatch(name, error, limit)


def _ious(box_xyxy: NDArray[np.float32], boxes_xyxy: NDArray[np.float32]) -> NDArray[np.float32]:
    top_left = np.maximum(box_xyxy[:2], boxes_xyxy[:, :2])
    bottom_right = np.minimum(box_xyxy[2:], boxes_xyxy[:, 2:])
    overlap = np.clip(bottom_right - top_left, 0, None).prod(axis=1)
    area = (box_xyxy[2:] - box_xyxy[:2]).prod()
    areas = (boxes_xyxy[:, 2:] - boxes_xyxy[:, :2]).prod(axis=1)
    ious: NDArray[np.float32] = overlap / np.maximum(area + areas - overlap, np.finfo(np.float32).tiny)
    return ious
