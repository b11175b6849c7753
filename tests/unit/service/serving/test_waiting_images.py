"""How many images are decoded while others wait, and what is kept of an image."""

import asyncio
import weakref

import numpy as np
import pytest
from prometheus_client import CollectorRegistry

from service.backends.in_process import AHEAD
from service.errors import BackendUnavailable
from service.metrics import Metrics
from service.pipeline.decode import decode
from service.request import DetectParams, RequestContext
from service.serving import stages
from service.serving.detect import DetectService
from service.serving.stages import ImageStages
from service.settings import Settings
from service.traffic.routes import VersionStatus
from tests.builders import image_bytes
from tests.unit.service.traffic.route_builders import ScriptedBackend, make_version

WORKERS = 2
AT_ONCE = WORKERS + AHEAD
PNG = image_bytes(np.full((40, 60, 3), 200, np.uint8))


class Gated(ScriptedBackend):
    """Answers every call with unavailable, but not before the test opens it."""

    def __init__(self):
        super().__init__()
        self.open = asyncio.Event()

    async def run(self, job, context):
        self.calls += 1
        await asyncio.to_thread(job.prepare)
        await self.open.wait()
        raise BackendUnavailable("closed")


@pytest.fixture
def decoded(monkeypatch):
    """Return a list that grows by a weak reference to the pixels of each image that is decoded."""
    pixels = []

    def counting(*args):
        image = decode(*args)
        pixels.append(weakref.ref(image.pixels))
        return image

    monkeypatch.setattr(stages, "decode", counting)
    return pixels


def service_with(manifest, registry, **backends):
    """Return a service with one version of a model on each backend."""
    settings = Settings(backends=",".join(backends), workers=WORKERS)
    service = DetectService(settings, Metrics(registry), ())
    service.loading = ""
    for name, backend in backends.items():
        version = make_version(manifest, name, "1", backend)
        status = VersionStatus(version.manifest, version.sha256, "ready")
        service.models.put(name, manifest.name, {"1": version}, [status])
    service.models.settle_default()
    return service


def start(service, count, **params):
    """Let `count` callers send an image, and return their tasks."""
    call = service.detect
    return [
        asyncio.ensure_future(call(PNG, DetectParams(**params), RequestContext.within(5)))
        for _ in range(count)
    ]


def test_images_wait_as_files_until_their_turn(artifact, decoded):
    registry = CollectorRegistry()

    async def scene():
        backend = Gated()
        service = service_with(artifact.manifest, registry, openvino=backend)
        callers = start(service, 20)
        await asyncio.sleep(0.3)
        waiting = registry.get_sample_value("sparsight_queue_depth", {"backend": "openvino"})
        at_first = (backend.calls, len(decoded), waiting)
        backend.open.set()
        answers = await asyncio.gather(*callers, return_exceptions=True)
        await service.close()
        return at_first, answers

    (running, in_pixels, waiting), answers = asyncio.run(scene())
    assert (running, in_pixels, waiting) == (AT_ONCE, AT_ONCE, 20 - AT_ONCE)
    assert all(isinstance(answer, BackendUnavailable) for answer in answers)
    count = registry.get_sample_value("sparsight_queue_wait_seconds_count", {"backend": "openvino"})
    waited_s = registry.get_sample_value("sparsight_queue_wait_seconds_sum", {"backend": "openvino"})
    assert count == len(decoded)  # one time for each image, whichever place it waited in
    assert waited_s > (count - AT_ONCE) * 0.2


def test_an_image_that_waits_moves_on_when_the_breaker_opens(artifact, decoded):
    async def scene():
        first, second = Gated(), Gated()
        service = service_with(artifact.manifest, CollectorRegistry(), openvino=first, onnx=second)
        callers = start(service, 10)
        await asyncio.sleep(0.2)
        breaker = service.models.routes(None)["openvino"].breaker
        breaker.failed(breaker.begin(), "gone", at_once=True)
        await asyncio.sleep(0.3)
        calls = (first.calls, second.calls)
        second.open.set()
        await asyncio.gather(*callers, return_exceptions=True)
        await service.close()
        return calls

    assert asyncio.run(scene()) == (AT_ONCE, AT_ONCE)  # none of those that waited tried the first


def test_the_pixels_of_an_image_are_dropped_once_the_model_input_is_made(artifact, decoded):
    spec = artifact.manifest.images
    image = ImageStages(PNG, 1_000_000, None)
    placed = image.place(spec)
    assert [pixels() for pixels in decoded] == [None]
    assert image.place(spec) is placed
    assert len(decoded) == 1
    other = spec.model_copy(update={"dims": ("B", 32, 32, 3)})
    assert image.place(other).canvas.shape == (1, 32, 32, 3)
    assert len(decoded) == 2
