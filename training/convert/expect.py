"""Compares a converted detector's outputs with those of the original."""

import zipfile
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray

from training.columns import in_columns
from training.errors import CheckpointError
from training.models.detector import Detector

SCORE_LIMIT = 1e-4
BOX_LIMIT_PX = 1e-3
BOX_LIMIT_RELATIVE = 1e-5  # relative to the coordinate, since boxes may reach far outside the image
ARRAYS = {"images": 4, "boxes": 3, "scores": 3}  # names and numbers of dimensions


@dataclass(frozen=True)
class Expected:
    """Images, and the original detector's outputs for them in float32."""

    images: NDArray[np.uint8]  # (B, H, W, 3) RGB
    boxes: NDArray[np.float32]  # (B, A, 4) xyxy pixels
    scores: NDArray[np.float32]  # (B, A, C)


@dataclass(frozen=True)
class Differences:
    """The largest absolute differences over all anchors of an image; NaN if an output contains NaN."""

    scores: float
    boxes_px: float
    boxes_excess_px: float  # the part beyond the relative tolerance

    @property
    def within(self) -> bool:
        """Return whether the differences of scores and boxes are within the limits; NaN is not."""
        return self.scores <= SCORE_LIMIT and self.boxes_excess_px <= BOX_LIMIT_PX


def read_expected(path: Path) -> Expected:
    """Return the images and the original's outputs in an .npz file.

    Raises:
        CheckpointError: an array is missing or has a wrong type or shape; the message says which.
    """
    try:
        with path.open("rb") as raw, np.load(raw, allow_pickle=False) as file:
            arrays = {name: file[name] for name in ARRAYS}
    except (OSError, KeyError, ValueError, TypeError, EOFError, zipfile.BadZipFile) as error:
        raise CheckpointError(f"{path} needs arrays {', '.join(ARRAYS)}: {error}") from error
    for name, dimensions in ARRAYS.items():
        kind = np.uint8 if name == "images" else np.float32
        if arrays[name].ndim != dimensions or arrays[name].dtype != kind or not len(arrays[name]):
            found = f"{arrays[name].dtype} {list(arrays[name].shape)}"
            raise CheckpointError(
                f"{path}: {name} is {found}; expected {np.dtype(kind)} of {dimensions} dimensions"
            )
    for name in ("boxes", "scores"):
        if len(arrays[name]) != len(arrays["images"]):
            counts = f"{len(arrays['images'])} images, but answers to {len(arrays[name])}"
            raise CheckpointError(f"{path} has {counts} ({name})")
    return Expected(**arrays)


def compare(model: Detector, expected: Expected) -> list[Differences]:
    """Return, for each image, the differences between the model's outputs and the expected outputs.

    Raises:
        CheckpointError: the images have another size than the model input, or the outputs another shape.
    """
    size = (*model.config.input_hw, 3)
    if expected.images.shape[1:] != size:
        found = "x".join(map(str, expected.images.shape[1:3]))
        own = "x".join(map(str, size[:2]))
        raise CheckpointError(f"the expected images are {found}, the model takes {own}: say --input {found}")
    # In one batch, as the original ran them: the batch size changes the order of sums, and thus rounding.
    with torch.no_grad():
        found_boxes, found_scores = model.decode(model(torch.from_numpy(expected.images), dispatch="dense"))
    answers = zip(found_boxes.numpy(), found_scores.numpy(), expected.boxes, expected.scores, strict=True)
    return [_differences(*answer) for answer in answers]


def _differences(
    found_boxes: NDArray[np.float32],
    found_scores: NDArray[np.float32],
    boxes: NDArray[np.float32],
    scores: NDArray[np.float32],
) -> Differences:
    if found_boxes.shape != boxes.shape or found_scores.shape != scores.shape:
        found, wanted = (found_boxes.shape, found_scores.shape), (boxes.shape, scores.shape)
        raise CheckpointError(f"boxes and scores of the original are {wanted}, ours {found}")
    off = np.abs(found_boxes - boxes)
    excess = off - BOX_LIMIT_RELATIVE * np.abs(boxes)
    return Differences(
        scores=float(np.abs(found_scores - scores).max()),
        boxes_px=float(off.max()),
        boxes_excess_px=max(float(excess.max()), 0.0) if not np.isnan(excess).any() else float("nan"),
    )


def as_table(differences: list[Differences]) -> str:
    """Return the differences as a table with one line per image, and the limits in the heading."""
    rows: list[tuple[object, ...]] = [("image", "scores", "boxes px", "beyond", "")]
    for index, one in enumerate(differences):
        figures = (f"{figure:.2e}" for figure in (one.scores, one.boxes_px, one.boxes_excess_px))
        rows.append((index, *figures, "" if one.within else "too far"))
    limits = f"scores {SCORE_LIMIT:g}, boxes {BOX_LIMIT_PX:g} px beyond {BOX_LIMIT_RELATIVE:g} × value"
    return "\n".join(
        ["largest difference from the original", f"(limits: {limits})", *in_columns(rows, "rrrrl")]
    )
