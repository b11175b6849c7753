"""Compares a converted network's outputs with the outputs of the original."""

import zipfile
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray

from training.columns import in_columns
from training.config import TaskName
from training.errors import CheckpointError
from training.models.classifier import Classifier
from training.models.detector import Detector
from training.models.network import Network

# B batch · A anchors of all levels · C classes · P keypoints · H, W size of the model input


class Output(NamedTuple):
    """An output to compare: its name, its number of dimensions, and the allowed difference."""

    name: str
    dimensions: int
    limit: float  # absolute, in the output's unit
    relative: float = 0.0  # of the value; this difference is allowed in addition
    unit: str = ""


# Coordinates may reach far outside the image, and mask numbers have no bounds. So a part of their allowed
# difference is relative. An angle is π times a number 0..1, to which the limit of a score applies.
DETECTED = (Output("boxes", 3, 1e-3, 1e-5, "px"), Output("scores", 3, 1e-4))
OUTPUTS: Mapping[TaskName, tuple[Output, ...]] = {
    "detect": DETECTED,
    "segment": (
        *DETECTED,
        Output("mask_coefficients", 3, 1e-3, 1e-5),
        Output("prototypes", 4, 1e-3, 1e-5),
    ),
    "pose": (*DETECTED, Output("keypoints", 4, 1e-3, 1e-5, "px"), Output("visibilities", 3, 1e-4)),
    "obb": (*DETECTED, Output("angles", 2, 3e-4, unit="rad")),
    "classify": (Output("probabilities", 2, 1e-4),),
}


@dataclass(frozen=True)
class Difference:
    """The largest absolute difference between one of our outputs and the original's, over all images.

    The difference is NaN if an output is NaN.
    """

    output: Output
    largest: float
    beyond: float  # largest part of a difference that exceeds the relative allowance

    @property
    def within(self) -> bool:
        """Return whether the difference is within the limit; False for NaN."""
        return self.beyond <= self.output.limit


def read_expected(path: Path, task: TaskName) -> dict[str, NDArray[Any]]:
    """Return the arrays of an .npz file: images, and the original network's outputs for them.

    Returns:
        The images, as `images` (B, H, W, 3) RGB uint8, and the outputs as float32 arrays. For classification,
        the only output is `probabilities` (B, C). All other tasks have `boxes` (B, A, 4), xyxy in pixels, and
        `scores` (B, A, C). Segmentation also has `mask_coefficients` (B, A, 32) and `prototypes`
        (B, 32, H / 4, W / 4). Pose also has `keypoints` (B, A, P, 2), x and y in pixels, and `visibilities`
        (B, A, P), 0..1. Oriented boxes also have `angles` (B, A) in radians, and `boxes` holds the boxes
        before rotation.

    Raises:
        CheckpointError: an array is missing or has a wrong type or shape. The message names the array.
    """
    expected = {"images": ("uint8", 4)}
    expected |= {output.name: ("float32", output.dimensions) for output in OUTPUTS[task]}
    try:
        with path.open("rb") as raw, np.load(raw, allow_pickle=False) as file:
            arrays = {name: file[name] for name in expected}
    except (OSError, KeyError, ValueError, TypeError, EOFError, zipfile.BadZipFile) as error:
        raise CheckpointError(f"{path} needs arrays {', '.join(expected)}: {error}") from error
    for name, array in arrays.items():
        kind, dimensions = expected[name]
        if array.ndim != dimensions or array.dtype != kind or not len(array):
            found = f"{array.dtype} {list(array.shape)}"
            raise CheckpointError(f"{path}: {name} is {found}; expected {kind} of {dimensions} dimensions")
        if len(array) != len(arrays["images"]):
            raise CheckpointError(
                f"{path} has {len(arrays['images'])} images, but answers to {len(array)} ({name})"
            )
    return arrays


def compare(model: Network, expected: Mapping[str, NDArray[Any]]) -> list[Difference]:
    """Return the difference between the model's outputs and the original's, for each output.

    `expected` holds the arrays from read_expected.

    Raises:
        CheckpointError: the images do not have the size of the model input, or the shapes of outputs differ.
    """
    images, size = expected["images"], (*model.config.input_hw, 3)
    if images.shape[1:] != size:
        found, own = (f"{height}x{width}" for height, width, _ in (images.shape[1:], size))
        raise CheckpointError(f"the expected images are {found}, the model takes {own}: use --input {found}")
    # In one batch, as the original ran them: the batch size changes the order of sums, and thus rounding.
    answers = answer(model, images)
    for name, array in answers.items():
        if array.shape != expected[name].shape:
            original, ours = expected[name].shape[1:], array.shape[1:]
            raise CheckpointError(f"{name} of the original are {original}, ours {ours}")
    differences = []
    for output in OUTPUTS[model.config.task]:
        wanted = expected[output.name]
        off = np.abs(answers[output.name] - wanted)
        beyond = np.maximum(off - output.relative * np.abs(wanted), 0)
        differences.append(Difference(output, float(off.max()), float(beyond.max())))
    return differences


def answer(model: Network, images: NDArray[np.uint8]) -> dict[str, NDArray[np.float32]]:
    """Return a network's outputs for images (B, H, W, 3), under the names that read_expected uses."""
    with torch.no_grad():
        predictions = model(torch.from_numpy(images), dispatch="dense")
        if isinstance(model, Classifier):
            return {"probabilities": model.probabilities(predictions).numpy()}
        assert isinstance(model, Detector)
        boxes, scores, *others = (each.numpy() for each in model.decode(predictions))
    found = {"boxes": boxes, "scores": scores}
    match model.config.task:
        case "segment":
            return {**found, "mask_coefficients": others[0], "prototypes": predictions.prototypes.numpy()}
        case "pose":
            return {**found, "keypoints": others[0][..., :2], "visibilities": others[0][..., 2]}
        case "obb":
            return {**found, "angles": others[0]}
        case _:
            return found


def as_table(differences: list[Difference]) -> str:
    """Return a table with one line per output: its difference and its limit."""
    rows: list[tuple[object, ...]] = [("", "largest", "beyond", "limit", "")]
    for each in differences:
        output = each.output
        name = f"{output.name} {output.unit}".strip().replace("_", " ")
        limit = f"{output.limit:g}" + (f" beyond {output.relative:g} × value" if output.relative else "")
        figures = (f"{each.largest:.2e}", f"{each.beyond:.2e}" if output.relative else "")
        rows.append((name, *figures, limit, "" if each.within else "too far"))
    return "\n".join(["largest difference from the original", *in_columns(rows, "lrrll")])
