"""Routes follow the models of a Triton server, and a hanging model does not delay other models."""

import asyncio
import hashlib
import json
import time
from contextlib import asynccontextmanager

import pytest
from prometheus_client import CollectorRegistry

from service.backends.threads import Threads
from service.backends.triton.channel import RepositoryVersion
from service.errors import BackendUnavailable, DeadlineExceeded
from service.metrics import Metrics
from service.serving import triton_models
from service.serving.models import Models
from service.serving.triton_models import TritonFollower
from service.settings import Settings


class StubChannel:
    """A server with these versions, as (name, version)."""

    url = "stub:1"

    def __init__(self, manifest, *versions):
        self.rows = {}
        for name, version in versions:
            self.load(manifest, name, version)
        self.reading = 0

    def load(self, manifest, name, version):
        text = json.dumps(manifest.model_dump(mode="json") | {"name": name, "version": version})
        self.rows[(f"{name}-openvino", version)] = {
            f"manifest.{version}": text,
            f"sha256.{version}": hashlib.sha256(text.encode()).hexdigest(),
        }

    async def read_index(self, timeout_s):
        self.reading += 1
        await asyncio.sleep(0.05)
        return tuple(RepositoryVersion(model, version, "READY", "") for model, version in self.rows)

    async def read_parameters(self, model, version, timeout_s):
        return self.rows[(model, version)]

    async def is_live(self, timeout_s):
        return True

    async def is_ready(self, model, version, timeout_s):
        return (model, version) in self.rows


@pytest.fixture
def proofs(monkeypatch):
    """Script what each model does when proved (nothing, an error, None to hang); list who was proved."""
    behaviour, proved = {}, []

    async def prove(manifest, backend, allowed_s):
        proved.append(manifest.name)
        step = behaviour.get(manifest.name, ())
        if step is None:
            await asyncio.Event().wait()
        if isinstance(step, Exception):
            raise step

    monkeypatch.setattr(triton_models, "prove_by_blank", prove)
    return behaviour, proved


@asynccontextmanager
async def following(channel, repository, **settings):
    models = Models(
        Settings(backends="triton", repository=repository, triton={"target": "openvino"}, **settings),
        Metrics(CollectorRegistry()),
    )
    threads = Threads(1, "triton")
    follower = TritonFollower(channel, None, threads, models._settings, models)
    try:
        yield follower, models
    finally:
        threads.close()
        await asyncio.gather(*follower.stop(), return_exceptions=True)


def versions(models, name):
    return tuple(models.routes(name)["triton"].versions)


def test_a_model_that_hangs_keeps_no_other_from_being_renewed(artifact, tmp_path, proofs):
    proofs[0]["a"] = None

    async def follow():
        channel = StubChannel(artifact.manifest, ("a", "1"), ("b", "1"))
        async with following(channel, tmp_path) as (follower, models):
            began = time.monotonic()
            await follower.look()
            assert versions(models, "b") == ("1",)
            channel.load(artifact.manifest, "b", "2")
            await follower.look()
            assert versions(models, "b") == ("2", "1")
            assert models.names == ("b",)
            assert "a-openvino version 1 is being checked" in models.notes["triton"]
            assert time.monotonic() - began < 5

    asyncio.run(asyncio.wait_for(follow(), 20))
    assert sorted(proofs[1]) == ["a", "b", "b"], "the proof that hangs is not begun again"


@pytest.mark.parametrize(("allowed", "served"), [(False, ()), (True, ("1",))])
def test_a_version_that_is_not_proved_is_refused_unless_the_settings_allow_it(
    artifact, tmp_path, proofs, allowed, served
):
    async def follow():
        channel = StubChannel(artifact.manifest.model_copy(update={"proved": False}), ("a", "1"))
        async with following(channel, tmp_path, serve_unproved=allowed) as (follower, models):
            await follower.look()
            assert versions(models, "a") == served
            refused = "a-openvino version 1 is refused: a-openvino version 1 was exported with --unproved"
            assert (refused in models.notes["triton"]) is not allowed

    asyncio.run(asyncio.wait_for(follow(), 20))
    assert proofs[1] == (["a"] if allowed else [])


def test_a_proof_that_was_not_done_in_time_is_remembered(artifact, tmp_path, proofs):
    proofs[0]["a"] = DeadlineExceeded(30, silent=True)

    async def follow():
        channel = StubChannel(artifact.manifest, ("a", "1"))
        async with following(channel, tmp_path) as (follower, models):
            await follower.look()
            await follower.look()
            assert [status.state for status in models.routes("a")["triton"].statuses] == ["refused"]
            assert "it did not run within 30 s" in models.notes["triton"]

    asyncio.run(follow())
    assert proofs[1] == ["a"]


def test_a_caller_who_leaves_ends_the_look_for_nobody_else(artifact, tmp_path, proofs):
    async def follow():
        channel = StubChannel(artifact.manifest, ("a", "1"))
        async with following(channel, tmp_path) as (follower, models):
            first = asyncio.create_task(follower.look())
            await asyncio.sleep(0.01)
            second = asyncio.create_task(follower.look())
            await asyncio.sleep(0.01)
            first.cancel()
            await second
            assert versions(models, "a") == ("1",)
            assert channel.reading == 2, "the second began after it was asked for"

    asyncio.run(follow())


def test_the_default_is_the_first_by_name_and_not_the_first_to_be_proved(artifact, tmp_path, proofs):
    proofs[0]["a"] = None

    async def follow():
        channel = StubChannel(artifact.manifest, ("a", "1"), ("b", "1"))
        async with following(channel, tmp_path) as (follower, models):
            await follower.look()
            assert models.default is None
            del channel.rows[("a-openvino", "1")]
            await follower.look()
            assert models.default == "b"

    asyncio.run(follow())


def test_a_server_that_has_unloaded_a_version_is_not_unwell(artifact, tmp_path, proofs):
    async def follow():
        channel = StubChannel(artifact.manifest, ("a", "1"))
        async with following(channel, tmp_path) as (follower, models):
            await follower.look()
            channel.rows.clear()
            served = models.routes("a")["triton"].current
            with pytest.raises(BackendUnavailable, match="has unloaded a-openvino version 1") as raised:
                await follower._check(served, 1)
            assert raised.value.not_run

    asyncio.run(follow())
