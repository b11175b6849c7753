"""Compares a converted detector's outputs with the outputs of the original."""

import zipfile
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from training.columns import in_columns
from training.errors import CheckpointError
from training.models.detector import Detector

SCORE_LIMIT = 1e-4
BOX_LIMIT_PX = 1e-3
BOX_LIMIT_RELATIVE = 1e-5  # relative to the coordinate, since boxes may reach far outside the image
ARRAYS = {"images": ("uint8", 4), "boxes": ("float32", 3), "scores": ("float32", 3)}  # types and dimensions


@dataclass(frozen=True)
class Differences:
    """The largest absolute differences between our outputs and the original detector's, for one image.

    The maximum is over all anchors; it is NaN if an output is NaN.
    """

    scores: float
    boxes_px: float
    boxes_excess_px: float  # the part of a difference that exceeds BOX_LIMIT_RELATIVE

    @property
    def within(self) -> bool:
        """Return whether the differences of scores and boxes are within the limits; False for NaN."""
        return self.scores <= SCORE_LIMIT and self.boxes_excess_px <= BOX_LIMIT_PX


def read_expected(path: Path) -> dict[str, NDArray[Any]]:
    """Return the arrays of an .npz file: images, and the original detector's outputs for them.

    Returns:
        images (B, H, W, 3) RGB uint8, boxes (B, A, 4) xyxy in pixels float32 and scores (B, A, C) float32.

    Raises:
        CheckpointError: an array is missing or has a wrong type or shape; the message says which.
    """
    try:
        with path.open("rb") as raw, np.load(raw, allow_pickle=False) as file:
            arrays = {name: file[name] for name in ARRAYS}
    except (OSError, KeyError, ValueError, TypeError, EOFError, zipfile.BadZipFile) as error:
        raise CheckpointError(f"{path} needs arrays {', '.join(ARRAYS)}: {error}") from error
    for name, array in arrays.items():
        kind, dimensions = ARRAYS[name]
        if array.ndim != dimensions or array.dtype != kind or not len(array):
            found = f"{array.dtype} {list(array.shape)}"
            raise CheckpointError(f"{path}: {name} is {found}; expected {kind} of {dimensions} dimensions")
        if len(array) != len(arrays["images"]):
            raise CheckpointError(
                f"{path} has {len(arrays['images'])} images, but answers to {len(array)} ({name})"
            )
    return arrays


def compare(model: Detector, expected: Mapping[str, NDArray[Any]]) -> list[Differences]:
    """Return, for each image, the differences between the model's outputs and the original's.

    `expected` are arrays from read_expected.

    Raises:
        CheckpointError: the images have another size than the model input, or the outputs another shape.
    """
    images, boxes, scores = (expected[name] for name in ARRAYS)
    size = (*model.config.input_hw, 3)
    if images.shape[1:] != size:
        found, own = (f"{height}x{width}" for height, width, _ in (images.shape[1:], size))
        raise CheckpointError(f"the expected images are {found}, the model takes {own}: use --input {found}")
    # In one batch, as the original ran them: the batch size changes the order of sums, and thus rounding.
    with torch.no_grad():
        outputs = model.decode(model(torch.from_numpy(images), dispatch="dense"))
    found_boxes, found_scores = (output.numpy() for output in outputs)
    if found_boxes.shape != boxes.shape or found_scores.shape != scores.shape:
        ours, wanted = (found_boxes.shape[1:], found_scores.shape[1:]), (boxes.shape[1:], scores.shape[1:])
        raise CheckpointError(f"boxes and scores of the original are {wanted}, ours {ours}")
    off = np.abs(found_boxes - boxes)
    excess = np.maximum(off - BOX_LIMIT_RELATIVE * np.abs(boxes), 0)
    figures = (np.abs(found_scores - scores), off, excess)
    each_image = zip(*(figure.max(axis=(1, 2)).tolist() for figure in figures), strict=True)
    return [Differences(*largest) for largest in each_image]


def as_table(differences: list[Differences]) -> str:
    """Return the differences as a table with one line per image; the heading states the allowed limits."""
    rows: list[tuple[object, ...]] = [("image", "scores", "boxes px", "beyond", "")]
    for index, each in enumerate(differences):
        figures = (f"{figure:.2e}" for figure in (each.scores, each.boxes_px, each.boxes_excess_px))
        rows.append((index, *figures, "" if each.within else "too far"))
    limits = f"scores {SCORE_LIMIT:g}, boxes {BOX_LIMIT_PX:g} px beyond {BOX_LIMIT_RELATIVE:g} × value"
    return "\n".join(
        ["largest difference from the original", f"(limits: {limits})", *in_columns(rows, "rrrrl")]
    )
