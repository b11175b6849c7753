"""Images are sent over gRPC if Triton cannot use shared memory; a late registration is tried again."""

import asyncio

import numpy as np
import pytest

from service.backends.protocol import infer
from service.backends.threads import Threads
from service.backends.triton import memory as triton_memory
from service.backends.triton.backend import TritonBackend
from service.backends.triton.memory import ImageSlots, SharedImages
from service.backends.triton.status import RegionForgotten
from service.errors import BackendFailed, BackendUnavailable, DeadlineExceeded
from service.request import RequestContext

IMAGES = np.zeros((1, 64, 64, 3), np.uint8)


class Answered(Exception):
    """The request arrived with its image."""


class ForgetfulChannel:
    """Knows no region; registers none, for a reason that a test gives."""

    def __init__(self, error):
        self.error = error
        self.sent = []

    async def infer(self, model, version, inputs, outputs, context):
        shared = "shared_memory_region" in inputs[0]._get_tensor().parameters
        self.sent.append("shared" if shared else "message")
        if shared:
            raise RegionForgotten("unable to find shared memory region")
        raise Answered

    async def register_memory(self, name, key, total_bytes, timeout_s):
        raise self.error


@pytest.fixture
def ask(artifact, monkeypatch, tmp_path):
    monkeypatch.setattr(triton_memory, "_FOLDER", tmp_path)
    monkeypatch.setattr(triton_memory, "remove_leftovers", list)
    region, threads = ImageSlots(IMAGES.nbytes, 2, tmp_path), Threads(1, "triton")

    def once(channel, expected):
        memory = SharedImages(channel, 2)
        memory._regions[IMAGES.nbytes] = region
        backend = TritonBackend(channel, memory, threads, artifact.manifest)
        with pytest.raises(expected):
            asyncio.run(infer(backend, artifact.manifest.feed(IMAGES, {}), RequestContext.within(5)))
        return memory.region(IMAGES.nbytes) is not None

    yield once
    region.close()
    threads.close()


def test_a_slow_registration_fails_one_request_and_gives_nothing_up(ask):
    channel = ForgetfulChannel(DeadlineExceeded(1, silent=True))
    assert ask(channel, BackendUnavailable), "still in use"
    assert channel.sent == ["shared"]


def test_when_the_server_cannot_use_the_memory_the_same_request_travels_in_the_message(ask):
    channel = ForgetfulChannel(BackendFailed("cannot open it"))
    assert not ask(channel, Answered), "given up"
    assert channel.sent == ["shared", "message"]
