"""Recognise images of a scene that was counted before, such as frames of a camera that does not move."""

import numpy as np
from numpy.typing import NDArray

_CELLS = 8
_COUNT = 500  # scenes that are remembered; the oldest are forgotten
_NEAREST = 4.0  # grey levels; a smaller mean difference is one scene. Photographs differ by 6 or more


class Scenes:
    """The scenes that count for a decision.

    Images of one scene are not independent: if one of them disagrees because of rounding, all do. For each
    scene, only the mean colours of 8 × 8 cells are kept, and only in memory.
    """

    def __init__(self) -> None:
        """Begin without scenes."""
        self._sketches = np.empty((_COUNT, _CELLS * _CELLS * 3), dtype=np.float32)
        self._seen = 0

    def is_new(self, sketch: NDArray[np.float32]) -> bool:
        """Return whether an image shows a new scene, and remember the scene."""
        known = self._sketches[: min(self._seen, _COUNT)]
        if len(known) and float(np.abs(known - sketch).mean(axis=1).min()) < _NEAREST:
            return False
        self._sketches[self._seen % _COUNT] = sketch
        self._seen += 1
        return True


def sketch_of(canvas: NDArray[np.uint8]) -> NDArray[np.float32]:
    """Return the mean colours of 8 × 8 cells of a model input, (1, H, W, 3), as (192,) in grey levels."""
    _, height, width, _ = canvas.shape
    high, wide = height // _CELLS, width // _CELLS
    cells = canvas[0, : high * _CELLS, : wide * _CELLS].reshape(_CELLS, high, _CELLS, wide, 3)
    means: NDArray[np.float32] = cells.mean(axis=(1, 3), dtype=np.float32).reshape(-1)
    return means
