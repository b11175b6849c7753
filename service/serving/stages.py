"""One image on its way through the stages, and how long each took."""

from time import perf_counter

import numpy as np
from numpy.typing import NDArray

from service.artifact.manifest import Manifest
from service.artifact.tensors import ImagesInput
from service.pipeline.decode import decode
from service.pipeline.preprocess import Placed, preprocess
from service.pipeline.routing import compute_cost, read_experts
from service.request import ResolvedParams
from service.tasks.choose import Result, task_of
from service.types import Compute, ExpertActivation, RawOutputs, Timings


class ImageStages:
    """Decodes an image once, and fits it again only if another backend's version wants another canvas.

    The methods are run in a thread, one after the other.
    """

    def __init__(self, data: bytes, max_pixels: int) -> None:
        """Begin with the bytes of an image file."""
        self._begun = perf_counter()
        self._data = data
        self._max_pixels = max_pixels
        self._image: NDArray[np.uint8] | None = None
        self._placed: tuple[ImagesInput, Placed] | None = None
        self.queue_s = self.infer_s = self._decode_s = self._preprocess_s = 0.0

    def decode_and_preprocess(self, spec: ImagesInput, queued_at: float) -> Placed:
        """Return the image on a model's canvas; `queued_at` is when it began to wait for this thread."""
        started = perf_counter()
        self.queue_s += started - queued_at
        if self._image is None:
            self._image = decode(self._data, self._max_pixels)
            self._decode_s = perf_counter() - started
        if self._placed is None or self._placed[0] != spec:
            decoded = perf_counter()
            self._placed = (spec, preprocess(self._image, spec))
            self._preprocess_s = perf_counter() - decoded
        return self._placed[1]

    def postprocess(
        self, outputs: RawOutputs, manifest: Manifest, params: ResolvedParams, placed: Placed
    ) -> tuple[Result, tuple[ExpertActivation, ...], Compute, Timings]:
        """Return what was found, what the experts did, what it cost and how long it took."""
        started = perf_counter()
        result: Result = task_of(manifest).read(outputs, params, placed)
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
        return result, experts, compute, timings
