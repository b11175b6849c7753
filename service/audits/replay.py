"""Answer an image a second time on the reference, and compare the answers, all in the reference's thread."""

from collections.abc import Mapping
from dataclasses import dataclass
from time import perf_counter
from typing import Any

import numpy as np
from numpy.typing import NDArray

from service.artifact.manifest import Manifest
from service.audits.compare import Compared, Image, compare, is_finite
from service.audits.decision import ExpertId
from service.audits.limits import Limits
from service.audits.scenes import sketch_of
from service.audits.verdict import Verdict
from service.observe.protocol import Answered
from service.serving.stages import Attempt, ImageStages
from service.types import RawOutputs


@dataclass(frozen=True)
class Replayed:
    """The result of one audit."""

    verdict: Verdict | None  # None: the reference's answer has NaN, so it proves nothing
    chosen: tuple[ExpertId, ...]  # by the reference
    sketch: NDArray[np.float32]  # of the image; see service.audits.scenes
    duration_s: float  # of the whole audit


class Replay:
    """The stages of an audited image on the reference; see `service.backends.protocol.Job`."""

    terms = None

    def __init__(
        self, answered: Answered, manifest: Manifest, limits: Limits, max_pixels: int, bits: int | None
    ) -> None:
        """Prepare to run the stages.

        Args:
            answered: the answer to audit, with the image file.
            manifest: manifest of the reference.
            limits: the largest differences that count as agreement.
            max_pixels: largest image, in pixels.
            bits: bits that a file with 16 bits per value holds, if the request does not say.
        """
        self._answered = answered
        self._limits = limits
        self._images = manifest.images.name
        stages = ImageStages(answered.data, max_pixels, answered.params.bits or bits)
        self._attempt = Attempt(stages, manifest, answered.params)

    def prepare(self) -> Mapping[str, NDArray[Any]]:
        """Decode and preprocess the image, and return the reference's inputs."""
        self._began = perf_counter()
        inputs = self._attempt.prepare()
        self._sketch = sketch_of(inputs[self._images])
        return inputs

    def finish(self, outputs: RawOutputs, infer_s: float) -> Replayed:
        """Postprocess the reference's outputs, and compare its answer with the audited one."""
        found, answered = self._attempt.finish(outputs, infer_s), self._answered
        want = Compared(found.result, found.experts, found.path)
        chosen = tuple((layer.layer, expert) for layer in found.experts for expert in layer.active)
        verdict = None
        if is_finite(want):
            image = Image(answered.version.manifest, answered.params, answered.image_hw)
            got = Compared(answered.result, answered.experts, answered.path)
            verdict = compare(got, want, image, self._limits)
        return Replayed(verdict, chosen, self._sketch, perf_counter() - self._began)
