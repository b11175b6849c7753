"""The seam between the pipeline and whatever runs a graph."""

from collections.abc import Mapping
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray


class Backend(Protocol):
    """Runs one loaded model. Safe to call from several threads."""

    def infer(
        self, images: NDArray[np.uint8], top_k: int | None, weight_threshold: float | None
    ) -> Mapping[str, NDArray[Any]]:
        """Run (B, H, W, 3) RGB; return the manifest's outputs by name.

        Args:
            images: letterboxed pixels.
            top_k: experts per image and layer; None where the graph has no such input.
            weight_threshold: softmax probability, 0..1; None where the graph has no such input.

        Raises:
            BackendFailed: the model rejected this input; retrying will not help.
        """
        ...

    def close(self) -> None:
        """Free the model. Nothing may be inferred afterwards."""
        ...
