"""Keep the detections of a measured checkpoint beside it, so that it is measured once.

The file is an npz without pickles. Its name and its content state the key: a hash of the checkpoint, the
images and the number of experts. A file with another key, or a damaged file, is not used.
"""

import hashlib
import io
import logging
import zipfile
from collections.abc import Mapping
from itertools import pairwise
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from training.data.masks import RunLengths
from training.data.sample import Dataset
from training.evaluate.compute_use import used_gflops
from training.evaluate.detections import DetectConfig, Detections
from training.evaluate.evaluator import evaluate
from training.files import sha256_of, write_atomically
from training.models.cost import measure_cost
from training.models.mixture.routing import RoutingControls
from training.trainer.checkpoint import load_detector
from training.trainer.loop import compute_device

FORM = 1  # changes if the same checkpoint would give other detections, or the file has another form
ARRAYS = ("boxes_xyxy", "scores", "class_ids", "keypoints", "corners")  # of Detections, if the task has them

log = logging.getLogger(__name__)


class Measurement(NamedTuple):
    """What one checkpoint gave for the images of a data set."""

    detections: tuple[Detections, ...]  # in the order of the images
    gflops: float  # mean over images; experts that did not run count 0


def key_of(checkpoint: Path, images: str, controls: RoutingControls) -> str:
    """Return the key of a measurement; `images` is the hash of the images."""
    parts = (FORM, sha256_of(checkpoint), images, *map(float, controls[:2]), DetectConfig())
    return hashlib.sha256(repr(parts).encode()).hexdigest()


def measure_once(checkpoint: Path, dataset: Dataset, images: str, controls: RoutingControls) -> Measurement:
    """Return what a detector's checkpoint gives for the images of a data set, in float32.

    If it was measured before on the same images with the same controls, return what was kept.

    Args:
        images: the hash of the images, from hash_of_images.

    Raises:
        CheckpointError: the file is damaged, or is not the checkpoint of a detector.
        DatasetError: the data set does not suit the checkpoint.
    """
    key = key_of(checkpoint, images, controls)
    kept = read_kept(checkpoint, key)
    if kept is not None:
        log.info(f"measured before: {checkpoint}")
        return kept
    log.info(f"measuring {checkpoint}")
    model, _ = load_detector(checkpoint)
    result = evaluate(model.to(compute_device()), dataset, controls=controls)
    gflops = float(used_gflops(measure_cost(model), result.routed.gates).mean())
    measured = Measurement(tuple(result.detections), gflops)
    keep(checkpoint, key, measured)
    return measured


def hash_of_images(dataset: Dataset) -> str:
    """Return a hash of the encoded images of a data set, in their order."""
    digest = hashlib.sha256()
    for index in range(len(dataset)):
        digest.update(hashlib.sha256(dataset.encoded(index)).digest())
    return digest.hexdigest()


def file_of(checkpoint: Path, key: str) -> Path:
    """Return the file beside a checkpoint that holds the measurement with a key."""
    return checkpoint.with_name(f"measured-{key[:16]}.npz")


def keep(checkpoint: Path, key: str, measured: Measurement) -> None:
    """Write a measurement beside its checkpoint; log it if the folder cannot be written."""
    found = measured.detections
    arrays: dict[str, Any] = {
        "key": np.array(key),
        "gflops": np.array(measured.gflops),
        "counts": np.array([len(each.scores) for each in found]),
    }
    for name in ARRAYS:
        parts = [getattr(each, name) for each in found]
        if parts[0] is not None:
            arrays[name] = np.concatenate(parts)
    if found[0].masks is not None:
        masks = [mask for each in found for mask in each.masks or ()]
        arrays["mask_hw"] = np.array([mask.image_hw for mask in masks], dtype=np.int64).reshape(-1, 2)
        arrays["mask_lengths"] = np.array([len(mask.counts) for mask in masks], dtype=np.int64)
        arrays["mask_counts"] = np.frombuffer(b"".join(mask.counts for mask in masks), dtype=np.uint8)
    content = io.BytesIO()
    np.savez_compressed(content, **arrays)
    path = file_of(checkpoint, key)
    try:
        write_atomically(path, content.getvalue())
    except OSError as error:
        log.info(f"{path} cannot be written, so the next comparison measures this checkpoint again: {error}")


def read_kept(checkpoint: Path, key: str) -> Measurement | None:
    """Return the measurement with this key; None if there is none, or if its file is damaged."""
    path = file_of(checkpoint, key)
    if not path.is_file():
        return None
    try:
        with np.load(io.BytesIO(path.read_bytes()), allow_pickle=False) as file:
            arrays = {name: file[name] for name in file.files}
        if str(arrays["key"]) != key:
            return None
        return Measurement(_split(arrays), float(arrays["gflops"]))
    except (OSError, ValueError, KeyError, EOFError, zipfile.BadZipFile) as error:
        log.info(f"{path} is damaged, so the checkpoint is measured again: {error}")
        return None


def _split(arrays: Mapping[str, Any]) -> tuple[Detections, ...]:
    """Return the detections of each image from the arrays of all images, one after the other."""
    fields = {name: arrays[name] for name in ARRAYS if name in arrays}
    if "mask_hw" in arrays:
        content, spans = arrays["mask_counts"].tobytes(), _spans(arrays["mask_lengths"])
        sizes = map(tuple, arrays["mask_hw"].tolist())
        counts = (content[start:end] for start, end in spans)
        fields["masks"] = tuple(map(RunLengths, sizes, counts))
    return tuple(
        Detections(**{name: values[start:end] for name, values in fields.items()})
        for start, end in _spans(arrays["counts"])
    )


def _spans(lengths: NDArray[np.int64]) -> list[tuple[int, int]]:
    """Return where each of several parts with these lengths starts and ends in the whole."""
    return list(pairwise(np.cumsum([0, *lengths.tolist()]).tolist()))
