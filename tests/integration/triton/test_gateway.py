"""The gateway with a real Triton: equal answers, the right versions, and no leftovers."""

import json
import os
import shutil
import time
from contextlib import contextmanager
from pathlib import Path

import httpx
import numpy as np
import pytest

from tests.builders import build_artifact, golden_image, image_bytes
from tests.integration.service.conftest import serve, wait_until_ready
from tests.integration.service.test_courtesies import assert_thresholds_and_suppression
from tests.triton_server import ROOT, start_triton
from training.export.triton.config import TritonOptions, write_all_configs

MODEL = "tiny-openvino"
RED = image_bytes(golden_image())
GREEN = image_bytes(np.full((64, 64, 3), (30, 200, 30), np.uint8))
RECORDER = '''
import json
from pathlib import Path

import numpy as np
import triton_python_backend_utils as pb_utils


class TritonPythonModel:
    """Answers the golden sample, and writes down who asked."""

    def initialize(self, args):
        folder = Path(args["model_repository"]) / args["model_version"]
        self._golden = dict(np.load(folder / "golden.npz"))
        self._outputs = [output["name"] for output in json.loads(args["model_config"])["output"]]
        self._seen = folder.parent / "seen.jsonl"

    def execute(self, requests):
        with self._seen.open("a") as file:
            for request in requests:
                file.write(json.dumps([request.request_id(), json.loads(request.parameters())]) + "\\n")
        tensors = [pb_utils.Tensor(name, self._golden[name]) for name in self._outputs]
        return [pb_utils.InferenceResponse(tensors) for _ in requests]
'''


def write_version(repository, version="1", **changes):
    """Put a version of the tiny model where Triton finds it."""
    built = build_artifact(repository, version=version, changes=changes)
    write_all_configs(repository, TritonOptions(), name="tiny")
    return built


@contextmanager
def gateway_to(
    server,
    *,
    backends=("triton",),
    repository="/nowhere",
    ready=True,
    probe_interval_s=0.2,
    tracing=False,
    **triton,
):
    settings = {"url": server.grpc_url, "refresh_s": 0.3, **triton}
    breaker = {"probe_interval_s": probe_interval_s, "probe_timeout_s": 1.0}
    others = {"triton": settings, "breaker": breaker, "tracing": tracing}
    with serve(backends=backends, repository=repository, **others) as gateway:
        if ready:
            assert wait_until_ready(gateway).status_code == 200
            wait_for(lambda: gateway.detect(RED, backend=backends[0]).status_code == 200)
        yield gateway


def wait_for(condition, limit_s=20.0):
    end = time.monotonic() + limit_s
    while not (found := condition()):
        assert time.monotonic() < end, "not in time"
        time.sleep(0.05)
    return found


def versions(gateway, backend="triton"):
    """Return the state of every version that a backend has."""
    (model,) = gateway.client.get("/models").json()["models"]
    return {row["version"]: row["state"] for row in model["versions"] if row["backend"] == backend}


def version_in_force(gateway):
    return gateway.detect(RED).json()["model"]["version"]


@pytest.fixture
def repository(tmp_path):
    write_version(tmp_path / "models")
    return tmp_path / "models"


@pytest.fixture
def server(repository):
    with start_triton(repository, load=[MODEL]) as server:
        yield server


def test_real_photographs_get_the_same_answers_from_triton_as_in_process(triton, real_images):
    both = ("openvino", "triton")
    with gateway_to(triton, backends=both, repository=ROOT / "model_repository") as gateway:
        wait_for(lambda: "triton" in gateway.client.get("/models").json()["models"][0]["backends"])
        for image in real_images:
            local, remote = (gateway.detect(image, backend=name).json() for name in both)
            assert (remote["model"]["backend"], remote["model"]["backend_reason"]) == ("triton", "requested")
            assert remote["model"]["sha256"] == local["model"]["sha256"]
            assert len(local["predictions"]) > 1
            assert len(remote["predictions"]) == len(local["predictions"])
            for ours, theirs in zip(local["predictions"], remote["predictions"], strict=True):
                assert ours["class"] == theirs["class"]
                assert theirs["confidence"] == pytest.approx(ours["confidence"], abs=1e-3)
                for side in ("x", "y", "width", "height"):
                    assert theirs[side] == pytest.approx(ours[side], abs=0.5)
            for ours, theirs in zip(local["moe"]["layers"], remote["moe"]["layers"], strict=True):
                assert ours["active"] == theirs["active"]
                assert theirs["weights"] == pytest.approx(ours["weights"], abs=1e-3)


def test_shared_memory_changes_no_answer_and_leaves_nothing(server):
    mine = f"sparsight-{os.getpid()}-*"

    def answers(gateway):
        found = [gateway.detect(image).json() for image in (RED, GREEN, RED)]
        return [(one["predictions"], one["moe"]) for one in found]

    with gateway_to(server) as plain:
        assert not list(Path("/dev/shm").glob(mine))
        expected = answers(plain)
    with gateway_to(server, shared_memory=True, max_inflight=3) as shared:
        assert answers(shared) == expected
        (region,) = Path("/dev/shm").glob(mine)
        assert region.stat().st_size == 3 * 64 * 64 * 3
        files = [("image", (str(i), image)) for i, image in enumerate([RED, GREEN] * 6)]
        results = shared.client.post("/detect", files=files).json()["results"]
        assert [one["predictions"][0]["class"] for one in results] == ["red", "green"] * 6
    assert not list(Path("/dev/shm").glob(mine))
    status = httpx.get(f"http://{server.http_url}/v2/systemsharedmemory/status", trust_env=False)
    assert status.json() == [], "Triton was told to forget the region"


def test_a_server_that_comes_later_joins(repository, server):
    server.kill()
    with gateway_to(server, ready=False) as gateway:
        answer = gateway.client.get("/readyz")
        assert answer.status_code == 503
        wait_for(lambda: "triton does not answer" in gateway.client.get("/readyz").json()["detail"])
        assert gateway.detect(RED).status_code == 503
        assert gateway.client.get("/models").status_code == 503
        assert gateway.client.get("/healthz").status_code == 200
        server.restart()
        assert wait_until_ready(gateway).status_code == 200
        assert gateway.detect(RED).json()["model"]["backend_reason"] == "preferred"


def test_local_models_serve_until_triton_comes_and_the_answer_says_so(repository, server):
    server.kill()
    both = ("triton", "openvino")
    with gateway_to(server, backends=both, repository=repository, ready=False) as gateway:
        assert wait_until_ready(gateway).status_code == 200
        assert gateway.detect(RED).json()["model"]["backend"] == "openvino"
        wait_for(lambda: "triton does not answer: " in gateway.detect(RED).json()["model"]["backend_reason"])
        assert gateway.metrics()['sparsight_backend_up{backend="triton"}'] == 0
        server.restart()
        wait_for(lambda: gateway.detect(RED).json()["model"]["backend"] == "triton")
        assert gateway.metrics()['sparsight_backend_up{backend="triton"}'] == 1


def test_an_unloaded_model_is_a_503_that_names_the_state(server):
    with gateway_to(server) as gateway:
        server.unload(MODEL)
        answer = gateway.detect(RED)
        assert (answer.status_code, answer.headers["retry-after"]) == (503, "2")
        assert answer.json()["type"].endswith(":backend-unavailable")
        assert wait_for(lambda: "does not serve tiny-openvino now" in gateway.detect(RED).json()["detail"])
        assert versions(gateway) == {"1": "unavailable"}
        assert gateway.client.get("/readyz").status_code == 503
        server.load(MODEL)
        wait_for(lambda: gateway.detect(RED).status_code == 200)


def test_another_model_of_the_same_name_and_version_is_refused(tmp_path, server):
    local = build_artifact(tmp_path / "local", changes={"variant": "another"}).repository
    with gateway_to(server, ready=False, repository=local) as alone:
        wait_for(lambda: "is refused: triton's manifest has sha256" in alone.client.get("/readyz").text)
        assert alone.detect(RED).status_code == 503
        assert versions(alone) == {"1": "refused"}
    both = ("triton", "openvino")
    with gateway_to(server, backends=both, repository=local, ready=False) as gateway:
        assert wait_until_ready(gateway).status_code == 200
        wait_for(lambda: "refused" in gateway.client.get("/readyz").text)
        assert gateway.detect(RED).json()["model"]["backend"] == "openvino"
        assert gateway.detect(RED, backend="triton").status_code == 503


def test_a_version_that_does_not_prove_itself_never_serves(tmp_path, repository, server):
    with gateway_to(server, repository=repository) as gateway:
        built = write_version(repository, "2")
        other = build_artifact(tmp_path / "other", version="2", selection="service")
        shutil.copy(other.folder / "model.xml", built.folder)  # a graph without scores and class_ids
        shutil.copy(other.folder / "model.bin", built.folder)
        server.load(MODEL)
        wait_for(lambda: versions(gateway).get("2") == "refused")
        assert version_in_force(gateway) == "1"
        assert gateway.detect(RED, version="2").status_code == 404


def test_a_higher_version_is_taken_and_an_older_one_can_be_asked_for(repository, server):
    with gateway_to(server) as gateway:
        assert version_in_force(gateway) == "1"
        write_version(repository, "2")
        server.load(MODEL)
        wait_for(lambda: version_in_force(gateway) == "2")
        assert gateway.detect(RED, version="1").json()["model"]["version"] == "1"
        answer = gateway.detect(RED, version="7")
        assert answer.status_code == 404
        assert answer.json()["detail"] == "there is no version '7' of model 'tiny'; its versions are 2, 1"
        series = gateway.metrics()
        served = {name for name in series if name.startswith("sparsight_model_info")}
        assert {f'version="{version}"' in name for name in served for version in "12"} == {True, False}
        shutil.rmtree(repository / MODEL / "2")
        write_all_configs(repository, TritonOptions(), name="tiny")
        server.load(MODEL)
        wait_for(lambda: version_in_force(gateway) == "1")


def test_the_request_id_and_the_trace_reach_the_server(repository):
    config = repository / MODEL / "config.pbtxt"
    text = config.read_text().replace('backend: "openvino"', 'backend: "python"')
    config.write_text(text.replace('"model.xml"', '"model.py"'))
    (repository / MODEL / "1" / "model.py").write_text(RECORDER)
    trace = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"
    headers_to_models = "--grpc-header-forward-pattern=(x-request-id|traceparent|tracestate)"
    with start_triton(repository, load=[MODEL], extra=[headers_to_models]) as server:
        with gateway_to(server, repository=repository) as gateway:
            answers = [
                gateway.client.post("/detect", content=RED, headers=headers)
                for headers in (
                    {"traceparent": trace, "tracestate": "vendor=1"},
                    {"traceparent": "00-nonsense", "tracestate": "vendor=1"},
                    {},
                )
            ]
            record = repository / MODEL / "seen.jsonl"
            wait_for(lambda: "sparsight-probe" in record.read_text())
        seen = dict(map(json.loads, record.read_text().splitlines()))
    ids = [answer.json()["id"] for answer in answers]
    assert [answer.headers["x-request-id"] for answer in answers] == ids
    assert (seen[ids[0]]["traceparent"], seen[ids[0]]["tracestate"]) == (trace, "vendor=1")
    assert [seen[one]["x-request-id"] for one in ids] == ids
    assert not [one for one in ids[1:] if {"traceparent", "tracestate"} & {*seen[one]}]
    assert "sparsight-golden" in seen


def test_a_form_with_several_files_is_answered_in_order(server):
    with gateway_to(server) as gateway:
        files = [("image", ("1", RED)), ("image", ("2", b"no image")), ("image", ("3", GREEN))]
        red, wrong, green = gateway.client.post("/detect", files=files).json()["results"]
        assert (red["predictions"][0]["class"], green["predictions"][0]["class"]) == ("red", "green")
        assert wrong["type"].endswith(":unsupported-image")


def test_triton_has_thresholds_for_single_classes_and_agnostic_suppression(server):
    with gateway_to(server) as gateway:
        assert_thresholds_and_suppression(gateway, "triton")
