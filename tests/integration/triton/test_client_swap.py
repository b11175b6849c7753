"""The client while a real Triton loads new versions, has full queues, dies and returns."""

import os
import signal
import time
from concurrent.futures import ThreadPoolExecutor

import pytest

from clients.errors import Busy, DeadlineExceeded, ManifestMismatch, NotServed, ServerFailed, Unreachable
from clients.triton import TritonClient
from tests.builders import build_artifact, golden_image, manifest_for
from tests.triton_server import start_triton
from training.export.triton.config import TritonOptions, write_all_configs

PROTOCOLS = ("grpc", "http")
MODELS = ("tiny-openvino", "tiny-openvino-nms", "tiny-openvino-detect")  # the ensemble after its parts
IMAGE = golden_image()


def release(repository, version, options=None, **changes):
    build_artifact(repository, version=version, changes=changes)
    write_all_configs(repository, options or TritonOptions(), name="tiny")


def load(server):
    for model in MODELS:
        server.load(model)


def open_client(server, protocol, **settings):
    url = server.grpc_url if protocol == "grpc" else server.http_url
    return TritonClient(url, model="tiny", protocol=protocol, **settings)


@pytest.fixture
def server(tmp_path):
    release(tmp_path, "1")
    with start_triton(tmp_path) as running:
        yield running


def outcome(call):
    """Return what a call came to, by name."""
    try:
        return call().model.version
    except (Busy, NotServed, Unreachable, ServerFailed, DeadlineExceeded) as error:
        return type(error).__name__


def eventually(call, wanted, limit_s=15.0):
    """Call until the outcome is as wanted; return all the outcomes before."""
    seen, end_s = [], time.monotonic() + limit_s
    while time.monotonic() < end_s:
        seen.append(outcome(call))
        if seen[-1] == wanted:
            return seen[:-1]
        time.sleep(0.05)
    raise AssertionError(f"never {wanted}: {seen}")


def test_a_new_version_is_followed(server):
    clients = [open_client(server, protocol, refresh_s=0.2) for protocol in PROTOCOLS]
    for client in clients:
        found = client.detect(IMAGE)
        assert (found.model.version, found.class_names) == ("1", ("red",))
    release(server.repository, "2", class_names=["rot", "grün", "blau"])
    load(server)
    time.sleep(0.2)
    for client in clients:
        found = client.detect(IMAGE)
        assert (found.model.version, found.class_names) == ("2", ("rot",))
        assert client.manifest().sha256 == found.model.sha256
        client.close()


def test_a_server_that_dies_and_comes_back_is_found_again(server):
    clients = [open_client(server, protocol, timeout_s=5) for protocol in PROTOCOLS]
    for client in clients:
        client.detect(IMAGE)
    server.kill()
    for client in clients:
        assert outcome(lambda client=client: client.detect(IMAGE)) == "Unreachable"
    server.restart()
    for client in clients:
        assert set(eventually(lambda client=client: client.detect(IMAGE), "1")) <= {"Unreachable"}
        client.close()


def test_a_server_that_hangs_is_left_in_time(server):
    for protocol in PROTOCOLS:
        with open_client(server, protocol, timeout_s=0.5) as client:
            client.detect(IMAGE)
            server.pause()
            try:
                started = time.monotonic()
                assert outcome(lambda client=client: client.detect(IMAGE)) == "DeadlineExceeded"
                assert time.monotonic() - started < 1.5
            finally:
                server.resume()
            assert set(eventually(lambda client=client: client.detect(IMAGE), "1")) <= {"DeadlineExceeded"}


def test_a_model_that_is_unloaded_or_dead_is_told_apart(server):
    for protocol in PROTOCOLS:
        with open_client(server, protocol) as client:
            client.detect(IMAGE)
            server.unload("tiny-openvino-detect")
            assert outcome(lambda client=client: client.detect(IMAGE)) == "NotServed"
            load(server)
            assert outcome(lambda client=client: client.detect(IMAGE)) == "1"
    for pid in server.stub_pids():
        os.kill(pid, signal.SIGKILL)
    time.sleep(0.5)
    for protocol in PROTOCOLS:
        with open_client(server, protocol) as client:
            assert outcome(lambda client=client: client.detect(IMAGE)) == "ServerFailed"


# Triton gives up a model whose process gets no CPU for a second or two, which is the machine's doing.
@pytest.mark.flaky(reruns=2, only_rerun="is not healthy")
def test_a_full_queue_is_busy(tmp_path):
    def version_or_busy(client):
        try:
            return client.detect(IMAGE).model.version
        except Busy:
            return "Busy"

    release(tmp_path, "1", TritonOptions(instances=1, max_queue=1))
    with start_triton(tmp_path) as server:
        for protocol in PROTOCOLS:
            with open_client(server, protocol, refresh_s=3600) as client, ThreadPoolExecutor(8) as pool:
                client.detect(IMAGE)
                assert set(pool.map(version_or_busy, [client] * 100)) == {"1", "Busy"}


def test_an_altered_manifest_is_refused(tmp_path):
    release(tmp_path, "1")
    config = tmp_path / "tiny-openvino" / "config.pbtxt"
    text = config.read_text()
    assert manifest_for("tiny", "1", "graph")["class_names"][0] == "red"
    config.write_text(text.replace(r"\"red\"", r"\"rot\"", 1))
    with start_triton(tmp_path) as server:
        for protocol in PROTOCOLS:
            with open_client(server, protocol) as client, pytest.raises(ManifestMismatch, match="sha256"):
                client.detect(IMAGE)
