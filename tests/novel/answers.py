"""Answer images with the real service, and score each answer with a baseline of training images."""

import asyncio
from collections.abc import AsyncIterator, Iterable, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from service.app import create_app
from service.artifact.routing_file import MeasuredRouting
from service.novel.score import Novelty, novelty_of
from service.observe.protocol import Answered
from service.request import DetectParams, RequestContext
from service.routing.monitor import Ranked
from service.routing.reference import Layers, Reference
from service.serving.detect import DetectService
from service.settings import Settings

_LEAST_CONF = 0.001  # so that the confidences below the model's own limit are known, too
_ALLOWED_S = 60.0


@dataclass(frozen=True)
class Scored:
    """One image as the service sees it, and its highest confidence."""

    image: Answered
    novelty: Novelty
    best: float  # highest confidence of the graph, even if it is too low to be reported


@asynccontextmanager
async def running(repository: Path) -> AsyncIterator[DetectService]:
    """Run the service without a port."""
    app = create_app(Settings(repository=repository, default_model="starter", workers=1))
    async with app.router.lifespan_context(app):
        service: DetectService = app.state.service
        while service.loading == "the models are being loaded":
            await asyncio.sleep(0.05)
        await service.models.first_ready.wait()
        yield service


async def answer(service: DetectService, files: Iterable[bytes]) -> list[Answered]:
    """Return the answer for each image file, without the files, which would fill the memory."""
    params = DetectParams(values={"conf": _LEAST_CONF})
    found = []
    for file in files:
        answered = await service.detect(file, params, RequestContext.within(_ALLOWED_S))
        found.append(replace(answered, data=b""))
    return found


def reference_of(answers: Sequence[Answered]) -> Reference:
    """Return the baseline that these images make."""
    manifest = answers[0].version.manifest
    with np.errstate(divide="ignore"):
        log_probs = np.log([[layer.probabilities for layer in one.experts] for one in answers])
    sets = [[sum(1 << expert for expert in layer.active) for layer in one.experts] for one in answers]
    measured = MeasuredRouting(
        answers[0].params.controls, log_probs.astype(np.float32), np.array(sets, dtype=np.uint64)
    )
    reference = Reference.of(measured, Layers.of(manifest), range(len(manifest.mixture)))
    assert reference is not None
    return reference


def score(answers: Sequence[Answered], reference: Reference) -> list[Scored]:
    """Return the novelty of each answered image, as for a request with the default confidence."""
    return [_scored(image, reference) for image in answers]


def _scored(image: Answered, reference: Reference) -> Scored:
    manifest = image.version.manifest
    routed = Layers.of(manifest).images([image.experts])
    (rank,) = reference.ranks(routed.contrasts)
    novelty = novelty_of(Ranked(image, routed.contrasts[0], routed.sets[0], rank, reference))
    scores = image.result.scores
    best = float(scores[0]) if len(scores) else 0.0
    reported = best if best >= manifest.task_settings.defaults.conf else 0.0
    return Scored(image, replace(novelty, confidence=reported), best)
