"""Run the stages of one image, and measure the time of each stage."""

from time import perf_counter

from service.artifact.manifest import Manifest
from service.artifact.tensors import ImagesInput
from service.pipeline.decode import decode
from service.pipeline.preprocess import Placed, fit_of, preprocess
from service.pipeline.routing import compute_cost, read_experts
from service.request import ResolvedParams
from service.tasks.choose import Result, task_of
from service.types import Compute, ExpertActivation, RawOutputs, Timings


class ImageStages:
    """The stages of one image: decode, preprocess, postprocess.

    A JPEG is decoded no larger than the model input needs. The pixels of the image are dropped as soon as
    the model input is made from them, because an image may be a hundred times as large. If the request moves
    to a backend whose version of the model has a different model input, the image is decoded again. The
    methods run in threads, one after the other.
    """

    def __init__(self, data: bytes, max_pixels: int, bits: int | None) -> None:
        """Store the bytes of an image file, and how to decode it; decoding happens later."""
        self._begun = perf_counter()
        self._data = data
        self._max_pixels = max_pixels
        self._bits = bits
        self.notes: tuple[str, ...] = ()  # what of the file was not looked at
        self._placed: tuple[ImagesInput, Placed] | None = None
        self.queue_s = self.infer_s = self._decode_s = self._preprocess_s = 0.0

    @property
    def size_bytes(self) -> int:
        """Return the size of the image file."""
        return len(self._data)

    def decode_and_preprocess(self, spec: ImagesInput, queued_at: float) -> Placed:
        """Return the image resized to a model input; `queued_at` is when it began to wait for a thread."""
        started = perf_counter()
        self.queue_s += started - queued_at
        if self._placed is None or self._placed[0] != spec:
            image = decode(self._data, self._max_pixels, self._bits, fit_of(spec))
            self.notes = tuple(map(str, image.notes))
            decoded = perf_counter()
            self._decode_s += decoded - started
            self._placed = (spec, preprocess(image.pixels, spec, image.reduced))
            self._preprocess_s += perf_counter() - decoded
        return self._placed[1]

    def postprocess(
        self, outputs: RawOutputs, manifest: Manifest, params: ResolvedParams, placed: Placed
    ) -> tuple[Result, tuple[ExpertActivation, ...], Compute, Timings]:
        """Return the predictions, the expert activations, the compute and the stage times of the image."""
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
