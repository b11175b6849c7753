"""The detector follows the manifest, sends once, and keeps to its time limit; no network here."""

import asyncio
import builtins
import sys

import numpy as np
import pytest

from clients import transport as transport_seam
from clients import triton
from clients.errors import (
    BadImage,
    BadParameter,
    Busy,
    DeadlineExceeded,
    DetectorError,
    ManifestMismatch,
    NotInstalled,
    Refused,
    ServerFailed,
)
from clients.triton import AsyncTritonDetector, TritonDetector
from tests.builders import manifest_for
from tests.unit.clients.conftest import FakeTransport

IMAGE = np.zeros((64, 64, 3), np.uint8)


@pytest.fixture
def transport(monkeypatch):
    fake = FakeTransport()
    monkeypatch.setattr(triton, "_open", lambda *_: fake)
    return fake


@pytest.fixture
def clock(monkeypatch):
    now = [1000.0]
    for module in (triton, transport_seam):
        monkeypatch.setattr(module, "monotonic", lambda: now[0])
    return now


def detector(**settings):
    return TritonDetector("host:8001", model="tiny", **settings)


def release(transport, **changes):
    """Load version 2 with some facts changed."""
    transport.documents.append(manifest_for("tiny", "2", "graph") | changes)


def test_the_manifest_is_read_once_and_again_when_it_is_old(transport, clock):
    with detector(refresh_s=1.0) as client:
        for step_s, reads in ((0.0, 1), (0.5, 1), (0.49, 1), (0.01, 2), (0.99, 2)):
            clock[0] += step_s
            client.detect(IMAGE)
            assert transport.config_reads == reads
    assert transport.closed


def test_a_refresh_time_of_0_asks_before_every_call(transport):
    client = detector(refresh_s=0)
    client.detect(IMAGE)
    client.detect(IMAGE)
    assert transport.config_reads == 2


def test_new_class_names_are_followed_when_the_manifest_is_read_again(transport, clock):
    client = detector(refresh_s=1.0)
    assert client.detect(IMAGE).class_names == ("red",)
    release(transport, class_names=["rot", "grün", "blau"])
    assert client.detect(IMAGE).class_names == ("red",)
    clock[0] += 1.0
    found = client.detect(IMAGE)
    assert (found.class_names, found.model.version) == (("rot",), "2")


def test_answers_with_other_mixture_layers_are_followed_at_once(transport, clock):
    client = detector(refresh_s=3600)
    assert len(client.detect(IMAGE).experts) == 2
    release(transport, mixture=manifest_for("tiny", "2", "graph")["mixture"][:1])
    found = client.detect(IMAGE)
    assert (len(found.experts), found.model.version) == (1, "2")
    assert (transport.config_reads, len(transport.sent)) == (2, 3)


def test_another_canvas_is_followed_at_once(transport):
    client = detector(refresh_s=3600)
    client.detect(IMAGE)
    bigger = manifest_for("tiny", "2", "graph")["input"] | {"height": 96, "width": 128}
    release(transport, input=bigger)
    transport.refusals = [Refused("unexpected shape")]
    assert client.detect(IMAGE).model.version == "2"
    assert transport.sent[-1]["images"].shape == (1, 96, 128, 3)


@pytest.mark.parametrize(
    "error", [Refused("shape"), Busy("Exceeds maximum queue size"), ServerFailed("x"), DeadlineExceeded(1.0)]
)
def test_nothing_is_sent_twice_while_the_model_is_the_same(transport, error):
    transport.refusals = [error]
    with pytest.raises(type(error)):
        detector().detect(IMAGE)
    assert len(transport.sent) == 1


def test_an_answer_that_does_not_fit_the_same_model_is_an_error(transport):
    transport.changes = {"gates": np.zeros((1, 3, 4), np.float32)}
    with pytest.raises(ManifestMismatch, match="gates has the shape"):
        detector().detect(IMAGE)
    assert len(transport.sent) == 1


@pytest.mark.parametrize("changes", [{"name": "other"}, {"target": "onnx"}])
def test_the_manifest_of_another_model_is_refused(transport, changes):
    transport.documents = [manifest_for("tiny", "1", "graph") | changes]
    with pytest.raises(ManifestMismatch, match="it holds the manifest of"):
        detector().detect(IMAGE)
    assert transport.sent == []


def test_wrong_parameters_and_images_are_never_sent(transport):
    client = detector()
    with pytest.raises(BadParameter):
        client.detect(IMAGE, conf=2)
    with pytest.raises(BadParameter):
        client.detect(IMAGE, top_k=9)
    with pytest.raises(BadImage):
        client.detect(b"not an image")
    assert transport.sent == []


def test_time_spent_before_sending_counts(transport, clock, monkeypatch):
    def slow_letterbox(*arguments):
        clock[0] += 2.0
        return question(*arguments)

    question = triton._question
    monkeypatch.setattr(triton, "_question", slow_letterbox)
    with pytest.raises(DeadlineExceeded, match=r"within 2 s"):
        detector(timeout_s=2.0).detect(IMAGE)
    assert transport.sent == []


def test_a_closed_detector_says_so(transport):
    client = detector()
    client.close()
    with pytest.raises(DetectorError, match="is closed"):
        client.detect(IMAGE)


def test_the_facts_of_the_model_can_be_asked_for(transport):
    assert detector().manifest().allowed_top_k == (1, 2, 3, 4)


@pytest.mark.parametrize("timeout_s", [0, -1, float("nan"), float("inf")])
def test_a_time_limit_is_above_0(transport, timeout_s):
    with pytest.raises(BadParameter, match="timeout_s"):
        detector(timeout_s=timeout_s).detect(IMAGE)


@pytest.mark.parametrize("refresh_s", [-0.1, float("nan")])
def test_a_refresh_time_is_not_negative(transport, refresh_s):
    with pytest.raises(BadParameter, match="refresh_s"):
        detector(refresh_s=refresh_s)


@pytest.mark.parametrize("url", ["", "host", "http://host:8000", "host:port", "host:"])
@pytest.mark.parametrize("make", [TritonDetector, AsyncTritonDetector])
def test_an_address_is_host_and_port(make, url):
    with pytest.raises(BadParameter, match="write host:port"):
        make(url)


def test_a_protocol_is_grpc_or_http():
    with pytest.raises(BadParameter, match="use grpc or http"):
        TritonDetector("host:1", protocol="rest")


@pytest.mark.parametrize(("protocol", "package"), [("grpc", "tritonclient.grpc"), ("http", "urllib3")])
def test_a_missing_library_is_named_with_the_way_to_get_it(monkeypatch, protocol, package):
    real_import = builtins.__import__

    def without(name, *arguments, **options):
        if name == package:
            raise ModuleNotFoundError(f"No module named {name!r}", name=name)
        return real_import(name, *arguments, **options)

    monkeypatch.delitem(sys.modules, f"clients.triton_{protocol}", raising=False)
    monkeypatch.setattr(builtins, "__import__", without)
    with pytest.raises(NotInstalled, match=f"package {package} is missing.*client"):
        TritonDetector("host:1", protocol=protocol)


# ---- asyncio --------------------------------------------------------------------------------


class FakeAsyncTransport:
    def __init__(self, fake):
        self.fake = fake

    async def parameters(self, *arguments):
        return self.fake.parameters(*arguments)

    async def infer(self, *arguments):
        return self.fake.infer(*arguments)

    async def close(self):
        self.fake.close()


@pytest.fixture
def async_transport(monkeypatch):
    fake = FakeTransport()
    monkeypatch.setattr(triton, "_open_async", lambda *_: FakeAsyncTransport(fake))
    return fake


def detect_async(calls, **settings):
    """Run calls, one after the other, on one asynchronous detector."""

    async def run():
        async with AsyncTritonDetector("host:8001", model="tiny", **settings) as client:
            return [await call(client) for call in calls]

    return asyncio.run(run())


def test_async_finds_the_same_and_reads_the_manifest_once(async_transport):
    first, second = detect_async([lambda client: client.detect(IMAGE, classes=["red"])] * 2)
    assert first.to_dict() == second.to_dict()
    assert (async_transport.config_reads, async_transport.closed) == (1, True)


def test_async_follows_other_mixture_layers_at_once(async_transport):
    async def swap(client):
        release(async_transport, mixture=manifest_for("tiny", "2", "graph")["mixture"][:1])
        return await client.detect(IMAGE)

    before, after = detect_async([lambda client: client.detect(IMAGE), swap], refresh_s=3600)
    assert (len(before.experts), len(after.experts), after.model.version) == (2, 1, "2")


@pytest.mark.parametrize("error", [Refused("shape"), Busy("Exceeds maximum queue size")])
def test_async_sends_nothing_twice_while_the_model_is_the_same(async_transport, error):
    async_transport.refusals = [error]
    with pytest.raises(type(error)):
        detect_async([lambda client: client.detect(IMAGE)])
    assert len(async_transport.sent) == 1


def test_async_sends_no_wrong_parameter(async_transport):
    with pytest.raises(BadParameter):
        detect_async([lambda client: client.detect(IMAGE, max_det=0)])
    assert async_transport.sent == []
