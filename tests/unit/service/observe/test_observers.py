"""Observers are called for every answered image, independently of HTTP."""

import asyncio
from contextlib import asynccontextmanager
from dataclasses import replace

import numpy as np
import pytest
from prometheus_client import CollectorRegistry

from service.errors import BackendUnavailable, InvalidParameter, Overloaded, UnsupportedImage
from service.metrics import Metrics
from service.observe.metrics import MetricsObserver
from service.request import DetectParams, RequestContext
from service.serving.detect import DetectService
from service.serving.open import open_models
from service.settings import Settings
from tests.builders import golden_image, image_bytes
from tests.unit.service.traffic.route_builders import ScriptedBackend, make_route

RED = image_bytes(golden_image())
GREEN = image_bytes(np.full((64, 64, 3), (30, 200, 30), np.uint8))


class Listener:
    """Writes down what it is told."""

    def __init__(self):
        self.heard = []

    def answered(self, image):
        self.heard.append((image.context.request_id, len(image.result)))

    def refused(self, error, context):
        self.heard.append((context.request_id, type(error).__name__))


@asynccontextmanager
async def serving(tiny, *observers, **settings):
    """Open the tiny model behind a service, as an app does."""
    chosen = Settings(repository=tiny.repository, **settings)
    service = DetectService(chosen, Metrics(CollectorRegistry()), observers)
    async with open_models(chosen, service.models):
        service.loading = ""
        yield service
        await service.close()


def context(request_id):
    return RequestContext.within(20, request_id)


def test_an_image_is_answered_without_http_and_told_to_every_observer(tiny):
    first, second = Listener(), Listener()

    async def ask():
        async with serving(tiny, first, second) as service:
            with service.admit():
                return await service.detect(RED, DetectParams(controls={"top_k": 3}), context("a"))

    answered = asyncio.run(ask())
    assert answered.result.class_ids.tolist() == [0]
    assert [len(layer.active) for layer in answered.experts] == [3, 3]
    assert (answered.reason, answered.version.backend_name) == ("preferred", "openvino")
    assert answered.params.controls == {"top_k": 3, "weight_threshold": 0.0}
    assert first.heard == second.heard == [("a", 1)]


def test_several_images_are_answered_in_order_and_what_is_refused_is_told_as_well(tiny):
    listener = Listener()

    async def ask():
        async with serving(tiny, listener) as service:
            contexts = [context(name) for name in "abc"]
            return await service.detect_all([RED, b"no image", GREEN], DetectParams(), contexts)

    red, wrong, green = asyncio.run(ask())
    assert (red.result.class_ids.tolist(), green.result.class_ids.tolist()) == ([0], [1])
    assert isinstance(wrong, UnsupportedImage)
    assert sorted(listener.heard) == [("a", 1), ("b", "UnsupportedImage"), ("c", 1)]


class Defective(Listener):
    """Raises whatever it is told."""

    def answered(self, image):
        raise OverflowError("a defect")

    def refused(self, error, context):
        raise OverflowError("a defect")


def test_a_defective_observer_fails_no_request_and_its_defect_is_logged_once(tiny, caplog):
    listener = Listener()

    async def ask():
        async with serving(tiny, Defective(), listener) as service:
            one = await service.detect(RED, DetectParams(), context("a"))
            several = [context("b"), context("c")]
            return one, *await service.detect_all([RED, b"no image"], DetectParams(), several)

    first, second, wrong = asyncio.run(ask())
    assert len(first.result) == len(second.result) == 1
    assert isinstance(wrong, UnsupportedImage)
    assert sorted(listener.heard) == [("a", 1), ("b", 1), ("c", "UnsupportedImage")]
    (logged,) = [record for record in caplog.records if record.msg == "observer_failed"]
    assert (logged.observer, logged.exc_info[0]) == ("Defective", OverflowError)


def test_a_request_too_many_is_refused_before_anything_is_done(tiny):
    async def ask():
        async with serving(tiny, max_inflight=1) as service:
            with service.admit(), pytest.raises(Overloaded), service.admit():
                pass
            with service.admit():
                pass

    asyncio.run(ask())


def test_what_a_model_cannot_do_is_refused_over_every_protocol(tiny):
    async def ask():
        async with serving(tiny) as service:
            with pytest.raises(InvalidParameter, match="has no warmth"):
                await service.detect(RED, DetectParams(controls={"warmth": 1}), context("a"))

    asyncio.run(ask())


def test_an_image_whose_backend_fails_is_answered_by_the_next_and_counted_as_a_failover(
    tiny, artifact, monkeypatch
):
    listener = Listener()
    dead = ScriptedBackend(BackendUnavailable("triton does not answer", lost=True))

    async def ask():
        async with serving(tiny, listener) as service:
            routes = {"triton": make_route(artifact.manifest, backend=dead), **service.models.routes("tiny")}
            monkeypatch.setattr(service.models, "routes", lambda name: routes)
            answered = await service.detect(RED, DetectParams(), context("a"))
            registry = service.metrics.registry
            return answered, registry.get_sample_value("sparsight_failovers_total", {"backend": "triton"})

    answered, failovers = asyncio.run(ask())
    assert (answered.version.backend_name, answered.reason) == ("openvino", "triton does not answer")
    assert (failovers, dead.calls, listener.heard) == (1, 1, [("a", 1)])


def test_the_metrics_are_the_first_observer(tiny):
    metrics = Metrics(CollectorRegistry())

    async def ask():
        async with serving(tiny, MetricsObserver(metrics)) as service:
            await service.detect_all([RED, b""], DetectParams(), [context("a"), context("b")])

    asyncio.run(ask())
    assert (
        metrics.registry.get_sample_value("sparsight_detections_total", {"model": "tiny", "version": "1"})
        == 1
    )
    labels = {"reason": "empty-image"}
    assert metrics.registry.get_sample_value("sparsight_requests_rejected_total", labels) == 1


def test_images_wait_to_be_recorded_but_whoever_reads_the_metrics_finds_all_of_them(tiny):
    metrics = Metrics(CollectorRegistry())
    observer = MetricsObserver(metrics)
    value = metrics.registry.get_sample_value

    async def ask():
        async with serving(tiny, observer) as service:
            return await service.detect(RED, DetectParams(), context("a"))

    image = asyncio.run(ask())
    of_version = {"model": "tiny", "version": "1", "backend": "openvino"}
    assert len(observer._waiting) == 1
    assert value("sparsight_image_duration_seconds_count", of_version) == 1
    assert observer._waiting == []
    for _ in range(60):
        observer.answered(image)
        assert len(observer._waiting) < 25
    observer.answered(replace(image, degraded=True))
    (layer, *_) = image.experts
    expert = {"model": "tiny", "version": "1", "layer": layer.layer, "expert": str(layer.active[0])}
    assert value("sparsight_expert_activations_total", expert) == 62
    assert value("sparsight_expert_gate_weight_total", expert) == pytest.approx(62 * layer.weights[0])
    assert value("sparsight_router_entropy_bits_count", {"model": "tiny", "layer": layer.layer}) == 62
    assert value("sparsight_compute_gflops_total", {"kind": "used"}) == pytest.approx(
        62 * image.compute.used_gflops
    )
    assert value("sparsight_stage_duration_seconds_count", {"stage": "infer", "backend": "openvino"}) == 62
    assert value("sparsight_degraded_images_total", {"model": "tiny"}) == 1
