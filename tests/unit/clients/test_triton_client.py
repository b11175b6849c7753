"""TritonClient follows the manifest, sends each request once, and keeps its time limit; without a network."""

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
    ClientError,
    DeadlineExceeded,
    ManifestMismatch,
    NotInstalled,
    Refused,
    ServerFailed,
    WrongTask,
)
from clients.triton import AsyncTritonClient, TritonClient
from tests.unit.clients.conftest import ENSEMBLE, GRAPH, FakeTransport, classifier_document, detector_document

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


def open_client(**settings):
    return TritonClient("host:8001", model="tiny", **settings)


def release(transport, **changes):
    """Load version 2 with some facts changed."""
    transport.documents.append(detector_document("2", **changes))


def one_layer():
    """Return what changes in a manifest when the second mixture layer goes."""
    document = detector_document("2")
    outputs = [
        row | {"dims": ["B", 1, 4]} if row["role"] in ("gates", "router_probs") else row
        for row in document["outputs"]
    ]
    return {"mixture": document["mixture"][:1], "outputs": outputs}


def test_the_manifest_is_read_once_and_again_when_it_is_old(transport, clock):
    with open_client(refresh_s=1.0) as client:
        for step_s, reads in ((0.0, 1), (0.5, 1), (0.49, 1), (0.01, 2), (0.99, 2)):
            clock[0] += step_s
            client.detect(IMAGE)
            assert transport.config_reads == reads
    assert transport.closed


def test_a_refresh_time_of_0_asks_before_every_call(transport):
    client = open_client(refresh_s=0)
    client.detect(IMAGE)
    client.detect(IMAGE)
    assert transport.config_reads == 2


def test_new_class_names_are_followed_when_the_manifest_is_read_again(transport, clock):
    client = open_client(refresh_s=1.0)
    assert client.detect(IMAGE).class_names == ("red",)
    release(transport, class_names=["rot", "grün", "blau"])
    assert client.detect(IMAGE).class_names == ("red",)
    clock[0] += 1.0
    found = client.detect(IMAGE)
    assert (found.class_names, found.model.version) == (("rot",), "2")


def test_answers_with_other_mixture_layers_are_followed_at_once(transport, clock):
    client = open_client(refresh_s=3600)
    assert len(client.detect(IMAGE).experts) == 2
    release(transport, **one_layer())
    found = client.detect(IMAGE)
    assert (len(found.experts), found.model.version) == (1, "2")
    assert (transport.config_reads, len(transport.sent)) == (2, 3)


def test_another_canvas_is_followed_at_once(transport):
    client = open_client(refresh_s=3600)
    client.detect(IMAGE)
    images, *controls = detector_document("2")["inputs"]
    release(transport, inputs=[images | {"dims": ["B", 96, 128, 3]}, *controls])
    transport.refusals = [Refused("unexpected shape")]
    assert client.detect(IMAGE).model.version == "2"
    assert transport.sent[-1]["images"].shape == (1, 96, 128, 3)


@pytest.mark.parametrize(
    "error", [Refused("shape"), Busy("Exceeds maximum queue size"), ServerFailed("x"), DeadlineExceeded(1.0)]
)
def test_nothing_is_sent_twice_while_the_model_is_the_same(transport, error):
    transport.refusals = [error]
    with pytest.raises(type(error)):
        open_client().detect(IMAGE)
    assert len(transport.sent) == 1


def test_an_answer_that_does_not_fit_the_same_model_is_an_error(transport):
    transport.changes = {"gates": np.zeros((1, 3, 4), np.float32)}
    with pytest.raises(ManifestMismatch, match="gates has the shape"):
        open_client().detect(IMAGE)
    assert len(transport.sent) == 1


@pytest.mark.parametrize("changes", [{"name": "other"}, {"target": "onnx"}])
def test_the_manifest_of_another_model_is_refused(transport, changes):
    transport.documents = [detector_document(**changes)]
    with pytest.raises(ManifestMismatch, match="its configuration has the manifest of"):
        open_client().detect(IMAGE)
    assert transport.sent == []


def test_detection_asks_the_ensemble_and_classification_the_graph(transport):
    open_client().detect(IMAGE)
    transport.documents = [classifier_document()]
    found = open_client().classify(IMAGE, top=1, top_k=1)
    assert transport.asked == [ENSEMBLE, GRAPH]
    assert (found.class_names, found.top_k) == (("blue",), 1)
    assert transport.sent[1]["top_k"].item() == 1


def test_a_model_that_is_asked_for_another_task_says_which_call_is_its_own(transport):
    with pytest.raises(WrongTask, match=r"'tiny' is for the task 'detect'; call detect\(\) instead"):
        open_client().classify(IMAGE)
    transport.documents = [classifier_document()]
    with pytest.raises(WrongTask, match=r"call classify\(\) instead"):
        open_client().detect(IMAGE)
    transport.documents = [detector_document(task="depth")]
    with pytest.raises(ManifestMismatch, match="'depth'; this client supports detect, classify, segment"):
        open_client().detect(IMAGE)
    assert transport.sent == []


def test_predict_does_what_the_model_is_for(transport):
    found = open_client().predict(IMAGE, conf=0.5, top_k=1, iou=None, top=None)
    assert (found.class_names, found.top_k) == (("red",), 1)
    with pytest.raises(BadParameter, match="the task 'detect' has no parameter top; it has conf, iou"):
        open_client().predict(IMAGE, top=1)
    with pytest.raises(BadParameter, match="has no tpo; it has top_k, weight_threshold"):
        open_client().predict(IMAGE, tpo=1)
    transport.documents = [classifier_document()]
    assert open_client().predict(IMAGE, top=1).class_names == ("blue",)
    with pytest.raises(BadParameter, match="the task 'classify' has no parameter conf; it has top, classes"):
        open_client().predict(IMAGE, conf=0.5)
    assert len(transport.sent) == 2


def test_a_control_that_is_none_is_left_out(transport):
    open_client().detect(IMAGE, top_k=None)
    assert transport.sent[0]["top_k"].item() == 2


def test_wrong_parameters_and_images_are_never_sent(transport):
    client = open_client()
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
        open_client(timeout_s=2.0).detect(IMAGE)
    assert transport.sent == []


def test_a_closed_client_says_so(transport):
    client = open_client()
    client.close()
    with pytest.raises(ClientError, match="is closed"):
        client.detect(IMAGE)


def test_the_facts_of_the_model_can_be_asked_for(transport):
    assert open_client().manifest().controls["top_k"].allowed == (1, 2, 3, 4)


@pytest.mark.parametrize("timeout_s", [0, -1, float("nan"), float("inf")])
def test_a_time_limit_is_above_0(transport, timeout_s):
    with pytest.raises(BadParameter, match="timeout_s"):
        open_client(timeout_s=timeout_s).detect(IMAGE)


@pytest.mark.parametrize("refresh_s", [-0.1, float("nan")])
def test_a_refresh_time_is_not_negative(transport, refresh_s):
    with pytest.raises(BadParameter, match="refresh_s"):
        open_client(refresh_s=refresh_s)


@pytest.mark.parametrize("url", ["", "host", "http://host:8000", "host:port", "host:"])
@pytest.mark.parametrize("make", [TritonClient, AsyncTritonClient])
def test_an_address_is_host_and_port(make, url):
    with pytest.raises(BadParameter, match="write host:port"):
        make(url)


def test_a_protocol_is_grpc_or_http():
    with pytest.raises(BadParameter, match="use grpc or http"):
        TritonClient("host:1", protocol="rest")


def test_a_missing_library_is_named_with_the_way_to_get_it_and_http_needs_none(monkeypatch):
    package = "tritonclient.grpc"
    real_import = builtins.__import__

    def without(name, *arguments, **options):
        if name == package:
            raise ModuleNotFoundError(f"No module named {name!r}", name=name)
        return real_import(name, *arguments, **options)

    monkeypatch.delitem(sys.modules, "clients.triton_grpc", raising=False)
    monkeypatch.setattr(builtins, "__import__", without)
    for make in (TritonClient, AsyncTritonClient):
        with pytest.raises(
            NotInstalled, match=f"package {package}, which is missing.*protocol='http'.*client"
        ):
            make("host:1")
    TritonClient("host:1", protocol="http").close()


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
        async with AsyncTritonClient("host:8001", model="tiny", **settings) as client:
            return [await call(client) for call in calls]

    return asyncio.run(run())


def test_async_finds_the_same_and_reads_the_manifest_once(async_transport):
    first, second = detect_async([lambda client: client.detect(IMAGE, classes=["red"])] * 2)
    assert first.to_dict() == second.to_dict()
    assert (async_transport.config_reads, async_transport.closed) == (1, True)


def test_async_classifies(async_transport):
    async_transport.documents = [classifier_document()]
    (found,) = detect_async([lambda client: client.classify(IMAGE, top=1)])
    assert found.class_names == ("blue",)


def test_a_closed_async_client_says_so(async_transport):
    async def closed(client):
        await client.close()
        await client.detect(IMAGE)

    with pytest.raises(ClientError, match="is closed"):
        detect_async([closed])


def test_async_follows_other_mixture_layers_at_once(async_transport):
    async def swap(client):
        release(async_transport, **one_layer())
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
