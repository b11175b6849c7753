"""How many threads OpenVINO starts, and on which cores they may run."""

import asyncio
import os
from concurrent.futures import ProcessPoolExecutor
from multiprocessing import get_context

import pytest

from service.artifact.repository import read_artifact
from service.backends import openvino, protocol
from service.backends.openvino import OpenVinoBackend
from service.request import RequestContext
from service.settings import OpenVinoSettings
from tests.affinity import ALL, cores_seen
from tests.builders import golden_image

on_two_cores = pytest.mark.skipif(len(ALL) < 2, reason="with one core, a pinned thread looks like any other")


@pytest.fixture
def opened(artifact):
    """Return a function that opens the tiny model with given settings, until the test ends."""
    backends = []

    def open_one(workers=2, **settings):
        backends.append(OpenVinoBackend(artifact, OpenVinoSettings(**settings), workers))
        return backends[-1]

    yield open_one
    for backend in backends:
        asyncio.run(backend.close())


def state(backend, name):
    return backend._graph._compiled.get_property(name)


def cores_while_computing(folder, settings):
    """Return the sets of cores to which threads of this process are bound while the model runs."""
    found = read_artifact(folder)
    backend = OpenVinoBackend(found, OpenVinoSettings(**settings), workers=2)
    feed = found.manifest.feed(golden_image()[None], {})

    async def several():
        await asyncio.gather(*(protocol.infer(backend, feed, RequestContext.within(20)) for _ in range(8)))

    return cores_seen([os.getpid()], lambda: asyncio.run(several()), seconds=1.0)


@on_two_cores
@pytest.mark.parametrize("performance", ["throughput", "latency"])
@pytest.mark.parametrize("pinned", [False, True])
def test_threads_may_run_on_every_core_unless_they_are_to_be_pinned(artifact, performance, pinned):
    settings = {"performance": performance, **({"pin_threads": True} if pinned else {})}
    # In a process of its own: graphs that other code compiled in this one may have left bound threads behind.
    with ProcessPoolExecutor(1, mp_context=get_context("spawn")) as process:
        seen = process.submit(cores_while_computing, artifact.folder, settings).result(60)
    assert ALL in seen
    assert (seen != {ALL}) == pinned


@on_two_cores
def test_a_quota_below_the_affinity_limits_threads_and_streams(opened, monkeypatch):
    monkeypatch.setattr(openvino, "usable_cores", lambda: 1)
    backend = opened(workers=2)
    assert (state(backend, "INFERENCE_NUM_THREADS"), state(backend, "NUM_STREAMS")) == (1, 1)
    monkeypatch.setattr(openvino, "usable_cores", lambda: len(ALL))
    backend = opened(workers=2)
    assert (state(backend, "INFERENCE_NUM_THREADS") >= 2, state(backend, "NUM_STREAMS")) == (True, 2)


@on_two_cores
def test_threads_that_are_asked_for_outdo_the_quota(opened, monkeypatch):
    monkeypatch.setattr(openvino, "usable_cores", lambda: 1)
    assert state(opened(threads=2), "INFERENCE_NUM_THREADS") == 2
