"""Run the stages of one image, and measure the time of each stage."""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from time import perf_counter
from typing import Any

from numpy.typing import NDArray

from service.artifact.manifest import Manifest
from service.artifact.paths import TOP_K
from service.artifact.tensors import ImagesInput
from service.backends.protocol import RouteTerms
from service.pipeline.decode import decode
from service.pipeline.preprocess import Placed, fit_of, preprocess
from service.pipeline.routing import compute_cost, read_experts, read_path
from service.request import ResolvedParams
from service.tasks.choose import Result, task_of
from service.timeline import Step, begin
from service.types import Compute, ExpertActivation, PathChoice, RawOutputs, Timings

_SHORT_S = 0.0001  # a shorter wait for a thread is no step of a trace


@dataclass(frozen=True)
class Finished:
    """The result of the stages of one image."""

    params: ResolvedParams  # with the top_k that ran, if the time for the request's own was too short
    image_hw: tuple[int, int]
    notes: tuple[str, ...]  # notes on parts of the file that were not used
    result: Result
    experts: tuple[ExpertActivation, ...]
    path: PathChoice | None  # None: the model has no paths
    compute: Compute
    timings: Timings


class ImageStages:
    """The image of one request, from its file to the model input, for one backend after another.

    A JPEG is decoded no larger than the model input needs. The pixels of the image are dropped as soon as the
    model input has been made from them, because they may need a hundred times as much memory. If the request
    moves to a backend whose version of the model has a different model input, the image is decoded again.
    """

    def __init__(self, data: bytes, max_pixels: int, bits: int | None) -> None:
        """Store the bytes of an image file, and how to decode it; decoding happens later."""
        self.begun = perf_counter()
        self.queue_s = self.decode_s = self.preprocess_s = 0.0
        self.notes: tuple[str, ...] = ()
        self.data = data
        self._max_pixels = max_pixels
        self._bits = bits
        self._placed: tuple[ImagesInput, Placed] | None = None

    @property
    def size_bytes(self) -> int:
        """Return the size of the image file."""
        return len(self.data)

    def place(self, spec: ImagesInput, step: Step | None = None) -> Placed:
        """Return the image in a model input; decode the file unless this model input exists already.

        `step` gets the steps of this work, if the request is traced.
        """
        if self._placed is None or self._placed[0] != spec:
            started = perf_counter()
            with begin(step, "decode"):
                image = decode(self.data, self._max_pixels, self._bits, fit_of(spec))
            self.notes = tuple(map(str, image.notes))
            decoded = perf_counter()
            self.decode_s += decoded - started
            with begin(step, "preprocess"):
                self._placed = (spec, preprocess(image.pixels, spec, image.reduced))
            self.preprocess_s += perf_counter() - decoded
        return self._placed[1]


class Attempt:
    """The stages of an image for one version on one backend; see `service.backends.protocol.Job`."""

    def __init__(
        self,
        image: ImageStages,
        manifest: Manifest,
        params: ResolvedParams,
        step: Step | None = None,
        terms: RouteTerms | None = None,
    ) -> None:
        """Prepare to run the stages.

        Args:
            image: the image.
            manifest: manifest of the version that runs.
            params: resolved for this version.
            step: gets the stages as steps; None if the request is not traced.
            terms: terms for the route of a model with paths; None: any route runs.
        """
        self.terms = terms
        self._image = image
        self._step = step
        self._manifest = manifest
        self._params = params
        self._idle_since = perf_counter()  # when this image last began to wait

    def prepare(self) -> Mapping[str, NDArray[Any]]:
        """Decode and preprocess the image, and return the graph's inputs."""
        began = perf_counter()
        self._image.queue_s += began - self._idle_since
        self._note_wait(self._idle_since, began)
        self._placed = self._image.place(self._manifest.images, self._step)
        self._idle_since = perf_counter()
        return self._manifest.feed(self._placed.canvas, self._params.controls)

    def finish(self, outputs: RawOutputs, infer_s: float) -> Finished:
        """Postprocess the outputs: return the predictions, the experts, the compute and the stage times."""
        image, manifest, params, started = self._image, self._manifest, self._ran(), perf_counter()
        router_s = None if self.terms is None else self.terms.router_s
        image.queue_s += max(0.0, started - self._idle_since - (router_s or 0.0) - infer_s)
        self._note_waits(started)
        began = perf_counter()
        with begin(self._step, "postprocess"):
            result: Result = task_of(manifest).read(outputs, params, self._placed)
            experts = read_experts(outputs, manifest)
            path = read_path(outputs, manifest)
            compute = compute_cost(experts, manifest, path, params.controls.get(TOP_K))
        done = perf_counter()
        timings = Timings(
            decode_s=image.decode_s,
            queue_s=image.queue_s,
            preprocess_s=image.preprocess_s,
            infer_s=infer_s,
            postprocess_s=done - began,
            total_s=done - image.begun,
            router_s=router_s,
        )
        hw, notes = self._placed.source_hw, image.notes
        return Finished(params, hw, notes, result, experts, path, compute, timings)

    def _ran(self) -> ResolvedParams:
        """Return the parameters with the top_k that ran."""
        if self.terms is None or self.terms.top_k is None:
            return self._params
        return replace(self._params, controls={**self._params.controls, TOP_K: self.terms.top_k})

    def _note_waits(self, started: float) -> None:
        """Add to the trace the waits between the steps, from `prepare` to `started` (of `perf_counter`)."""
        since = self._idle_since
        for name in ("router", "infer"):
            step = None if self._step is None else self._step.last(name)
            if step is not None and step.ended is not None:
                self._note_wait(since, step.began)
                since = step.ended
        self._note_wait(since, started)

    def _note_wait(self, began: float, ended: float) -> None:
        if self._step is not None and ended - began > _SHORT_S:
            self._step.add("queue", began, ended)
