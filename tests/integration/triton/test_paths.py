"""On a real Triton, models with paths answer as in process: for direct callers, and behind the gateway."""

import asyncio
import os
import signal
import time
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
import tritonclient.grpc as grpcclient
from tritonclient.utils import InferenceServerException

from clients.errors import NotServed, Refused
from clients.triton import AsyncTritonClient, TritonClient
from service.artifact.repository import read_artifact
from service.backends.protocol import infer
from service.backends.table import BACKENDS
from service.request import RequestContext
from service.settings import Settings
from tests.builders import image_bytes
from tests.integration.service.conftest import serve
from tests.integration.service.test_explain import explained
from tests.integration.triton.test_ensemble import ask
from tests.integration.triton.test_gateway import gateway_to, wait_for
from tests.path_artifacts import BLUE, GREEN, RED, build_paths, path_probs, whole_answer
from tests.triton_server import start_triton
from training.export.triton.config import TritonOptions, write_all_configs
from training.export.triton.unlinked import copy_without_links

pytestmark = pytest.mark.heavy

IMAGES = (RED, GREEN, BLUE)  # of path 0, 1 and 2
FILES = tuple(map(image_bytes, IMAGES))
TARGETS = ("openvino", "tensorrt")  # one image at a time, and batches of up to 8
BOTH = ("triton", "openvino")
TOKEN = "correct horse battery"


@pytest.fixture(scope="module")
def repository(tmp_path_factory):
    root = tmp_path_factory.mktemp("paths")
    build_paths(root)
    build_paths(root, target="tensorrt", batch=range(1, 9))
    # So long a delay gathers the requests of a test even on a busy machine.
    write_all_configs(root, TritonOptions(instances=1, batch_delay_s=0.1))
    return root


@pytest.fixture(scope="module")
def server(repository):
    with start_triton(repository) as running:
        yield running


@pytest.fixture(scope="module")
def client(server):
    with grpcclient.InferenceServerClient(server.grpc_url) as connected:
        yield connected


def inputs_of(images, top_ks):
    return {"images": np.stack(images), "top_k": np.array(top_ks, np.int64)[:, None]}


def assert_answer(got, images, top_ks):
    for row, (image, top_k) in enumerate(zip(images, top_ks, strict=True)):
        for name, value in whole_answer(image, top_k).items():
            assert got[name].dtype == value.dtype, name
            np.testing.assert_allclose(got[name][row], value[0], atol=1e-5, err_msg=f"{name} {row}")


def runs(client, model):
    """Return how many images a model has answered so far, and in how many executions."""
    (stats,) = client.get_inference_statistics(model).model_stats
    return np.array([stats.inference_count, stats.execution_count])


@pytest.mark.parametrize("target", TARGETS)
@pytest.mark.parametrize("top_k", [1, 2])
@pytest.mark.parametrize("image", IMAGES, ids=["path 0", "path 1", "path 2"])
def test_every_route_answers_as_in_process(client, repository, target, image, top_k):
    got = ask(client, f"routed-{target}", **inputs_of([image], [top_k]))
    assert_answer(got, [image], [top_k])
    backend = BACKENDS["openvino"].open(read_artifact(repository / "routed-openvino" / "1"), Settings())
    local = asyncio.run(infer(backend, inputs_of([image], [top_k]), RequestContext.within(20)))
    asyncio.run(backend.close())
    assert got.keys() == local.keys()
    for name, value in local.items():
        np.testing.assert_allclose(got[name], value, atol=1e-6, err_msg=name)


def test_a_copy_without_links_gives_the_same_answers(tmp_path):
    build_paths(tmp_path / "models")
    write_all_configs(tmp_path / "models", TritonOptions(instances=1))
    copy = copy_without_links(tmp_path / "models", tmp_path / "copy")
    with start_triton(copy) as running, grpcclient.InferenceServerClient(running.grpc_url) as connected:
        for image in IMAGES:
            for top_k in (1, 2):
                answer = ask(connected, "routed-openvino", **inputs_of([image], [top_k]))
                assert_answer(answer, [image], [top_k])


def test_images_of_one_request_take_different_routes_and_keep_their_order(client):
    images, top_ks = [BLUE, RED, GREEN, RED, RED], [2, 1, 2, 2, 1]
    before = runs(client, "routed-tensorrt-path0-k1")
    assert_answer(ask(client, "routed-tensorrt", **inputs_of(images, top_ks)), images, top_ks)
    after = runs(client, "routed-tensorrt-path0-k1")
    assert (after - before).tolist() == [2, 1], "the two images of this route ran together"


def test_requests_of_direct_callers_are_joined_and_a_wrong_one_affects_no_other(client):
    asked = [(RED, 2), (GREEN, 2), (RED, 3), (BLUE, 1), *[(RED, 2)] * 15]
    before = runs(client, "routed-tensorrt-path0-k2")

    def one(image, top_k):
        try:
            return ask(client, "routed-tensorrt", **inputs_of([image], [top_k]))
        except InferenceServerException as error:
            return error

    with ThreadPoolExecutor(len(asked)) as pool:
        answers = list(pool.map(one, *zip(*asked, strict=True)))
    for (image, top_k), answer in zip(asked, answers, strict=True):
        if top_k == 3:
            assert answer.status() == "StatusCode.INVALID_ARGUMENT"
            assert answer.message() == "top_k is 3; it must be one of [1, 2]"
        else:
            assert_answer(answer, [image], [top_k])
    images, executions = runs(client, "routed-tensorrt-path0-k2") - before
    assert images == 16
    assert executions <= 8, "at least two images at once on average"


@pytest.mark.parametrize("protocol", ["grpc", "http"])
def test_the_client_detects_and_names_the_path(server, protocol):
    url = server.grpc_url if protocol == "grpc" else server.http_url
    with TritonClient(url, model="routed", protocol=protocol) as direct:
        for path, image in enumerate(IMAGES):
            for top_k in (1, 2):
                found = direct.detect(FILES[path], conf=0.1, top_k=top_k)
                assert found.class_ids.tolist() == [path]
                want = whole_answer(image, top_k)
                assert found.scores[0] == pytest.approx(want["scores"][0, 0], abs=1e-5)
                assert found.path.index == path
                assert found.path.probability == pytest.approx(path_probs(image)[path], abs=1e-5)
                for layer, gates in zip(found.experts, want["gates"][0], strict=True):
                    assert layer.active == tuple(np.flatnonzero(gates))
        assert found.to_dict()["moe"]["routing"] == "normal"


def test_the_asyncio_client_names_the_path(server):
    async def paths():
        async with AsyncTritonClient(server.grpc_url, model="routed", target="tensorrt") as direct:
            found = await asyncio.gather(*(direct.detect(file, conf=0.1) for file in FILES))
        return [each.path.index for each in found]

    assert asyncio.run(paths()) == [0, 1, 2]


@pytest.mark.parametrize("shared_memory", [False, True], ids=["in the message", "in shared memory"])
def test_the_gateway_answers_as_in_process(server, repository, shared_memory):
    with gateway_to(server, backends=BOTH, repository=repository, shared_memory=shared_memory) as gateway:
        for path, file in enumerate(FILES):
            for top_k in (1, 2):
                asked = {"model": "routed", "top_k": top_k, "conf": 0.1, "moe": "full"}
                remote, local = (gateway.detect(file, backend=name, **asked).json() for name in BOTH)
                assert remote["model"]["backend"] == "triton"
                assert remote["moe"]["path"]["index"] == path
                assert remote["predictions"] == local["predictions"]
                assert remote["moe"] == local["moe"]
        files = [("image", (f"{i}.png", file, "image/png")) for i, file in enumerate(FILES)]
        query = {"model": "routed", "backend": "triton"}
        results = gateway.client.post("/detect", files=files, params=query).json()["results"]
        assert [one["moe"]["path"]["index"] for one in results] == [0, 1, 2]
        taken = 'sparsight_path_images_total{backend="triton",model="routed",path="%d",version="1"}'
        assert all(gateway.metrics()[taken % path] > 0 for path in range(3))


def test_explanations_and_audits_ask_triton_for_the_path_too(server, repository):
    triton = {"url": server.grpc_url, "refresh_s": 0.3}
    settings = {"explain": True, "audit": {"share": 1}, "admin_token": TOKEN, "default_model": "routed"}
    with serve(backends=BOTH, repository=repository, triton=triton, **settings) as gateway:
        wait_for(lambda: gateway.detect(FILES[0], backend="triton").status_code == 200)
        maps = [explained(gateway, FILES[1], backend=name, timeout_ms=60_000)["explanation"] for name in BOTH]
        assert [(one["layer"], one["expert"]) for one in maps[0]["layers"]] == [("path", 1)]
        np.testing.assert_allclose(
            maps[0]["layers"][0]["effects"], maps[1]["layers"][0]["effects"], atol=1e-3
        )

        def audited():
            for file in FILES:  # a scene counts once
                gateway.detect(file, backend="triton")
            answer = gateway.client.get("/audits", headers={"Authorization": f"Bearer {TOKEN}"})
            return [one for one in answer.json()["backends"] if one["counted"] == len(FILES)]

        (report,) = wait_for(audited)
        assert (report["backend"], report["disagreeing"]) == ("triton", 0)


def test_images_of_one_path_are_gathered_by_triton(client, server, repository):
    whole, router = (f"routed-tensorrt{part}" for part in ("", "-router"))
    routes = [f"{whole}-path{path}-k2" for path in (0, 1)]
    with gateway_to(server, repository="/nowhere", target="tensorrt", probe_interval_s=60) as gateway:
        before = {model: runs(client, model) for model in (whole, router, *routes)}
        files = [FILES[0], FILES[1]] * 8
        with ThreadPoolExecutor(len(files)) as pool:
            answers = list(pool.map(lambda file: gateway.detect(file, conf=0.1).json(), files))
    assert [one["moe"]["path"]["index"] for one in answers] == [0, 1] * 8
    assert [one["predictions"][0]["class_id"] for one in answers] == [0, 1] * 8
    done = {model: (runs(client, model) - past).tolist() for model, past in before.items()}
    assert done[whole] == [0, 0], "the gateway asks the graphs themselves"
    for model in routes:
        images, executions = done[model]
        assert images == 8
        assert executions <= 4, "at least two images at once on average"
    images, executions = done[router]
    assert images == 16
    assert executions <= 8


PARTS = [
    "routed-openvino",
    "routed-openvino-router",
    *(f"routed-openvino-path{path}-k2" for path in range(3)),
]


@pytest.fixture
def few(tmp_path):
    """Yield a repository, and a server that has loaded only the routes of the default top_k."""
    build_paths(tmp_path)
    write_all_configs(tmp_path, TritonOptions(instances=1))
    with start_triton(tmp_path, load=PARTS) as running:
        yield tmp_path, running


def test_a_missing_route_is_unavailable_by_name_unless_another_backend_has_it(few):
    repository, server = few
    with gateway_to(server) as gateway:
        answer = gateway.detect(FILES[0], top_k=1)
        assert (answer.status_code, answer.json()["type"].rpartition(":")[2]) == (503, "backend-unavailable")
        assert "routed-openvino-path0-k1" in answer.json()["detail"]
        server.load("routed-openvino-path0-k1")
        assert gateway.detect(FILES[0], top_k=1).status_code == 200
        server.unload("routed-openvino-path1-k2")
        answer = gateway.detect(FILES[1])
        assert answer.status_code == 503
        assert "routed-openvino-path1-k2" in answer.json()["detail"]
        assert gateway.detect(FILES[2]).status_code == 200
        with TritonClient(server.grpc_url, model="routed") as direct, pytest.raises(NotServed):
            direct.detect(FILES[1])  # the ensemble is not loaded
        with grpcclient.InferenceServerClient(server.grpc_url) as client:
            with pytest.raises(InferenceServerException) as lost:
                ask(client, "routed-openvino", **inputs_of([GREEN], [2]))
            with pytest.raises(InferenceServerException) as never:
                ask(client, "routed-openvino", **inputs_of([GREEN], [1]))
        for error in (lost, never):
            assert error.value.status() == "StatusCode.NOT_FOUND"
            assert "routed-openvino-path1-k" in error.value.message()
    with gateway_to(server, backends=BOTH, repository=repository, ready=False) as gateway:
        server.load("routed-openvino-path1-k2")
        wait_for(lambda: gateway.detect(FILES[1], backend="triton").status_code == 200)
        for lost, left in (("path1-k2", "triton"), ("router", "openvino")):
            server.unload(f"routed-openvino-{lost}")
            answers = [gateway.detect(file).json() for file in FILES]
            assert [one["moe"]["path"]["index"] for one in answers] == [0, 1, 2]
            assert [one["model"]["backend"] for one in answers] == [left, "openvino", left]


def test_a_dead_process_fails_the_images_of_its_route_alone(few):
    _, server = few
    with gateway_to(server) as gateway:
        (dead,) = (
            pid
            for pid, name in zip(server.stub_pids(), server.stub_names(), strict=True)
            if "path1-k2" in name
        )
        os.kill(dead, signal.SIGKILL)
        wait_for(lambda: gateway.detect(FILES[1]).status_code == 503)
        for _ in range(10):
            answers = [gateway.detect(file) for file in FILES]
            assert [answer.status_code for answer in answers] == [200, 503, 200]
        assert answers[1].json()["detail"].startswith("path1-k2: triton does not answer")


def test_a_dead_process_of_the_path_of_the_probes_fails_no_other_images(few):
    _, server = few
    with gateway_to(server, probe_interval_s=0.1) as gateway:
        (dead,) = (
            pid
            for pid, name in zip(server.stub_pids(), server.stub_names(), strict=True)
            if "path0-k2" in name  # the path of a blank image
        )
        os.kill(dead, signal.SIGKILL)
        wait_for(lambda: gateway.detect(FILES[0]).status_code == 503)
        time.sleep(1)  # several probes, which no answer spares
        answers = [gateway.detect(file).status_code for file in FILES]
        answers += [gateway.detect(FILES[0]).status_code for _ in range(4)]
        assert answers == [503, 200, 200, *[503] * 4]
        assert gateway.detect(FILES[1]).status_code == 200


def test_a_new_version_serves_once_all_of_its_graphs_are_there(few):
    repository, server = few
    build_paths(repository, version="2")
    write_all_configs(repository, TritonOptions(instances=1))
    with gateway_to(server) as gateway:
        server.load("routed-openvino")
        note = "triton does not have the model"
        wait_for(lambda: any(note in each for each in gateway.client.get("/readyz").json().get("notes", [])))
        assert gateway.detect(FILES[0]).json()["model"]["version"] == "1"
        for part in PARTS[1:]:
            server.load(part)
        wait_for(lambda: gateway.detect(FILES[0]).json()["model"]["version"] == "2")
        assert gateway.detect(FILES[1], version="1").json()["moe"]["path"]["index"] == 1


def test_graphs_of_another_artifact_of_the_same_name_are_refused(few):
    repository, server = few
    folder = repository / "routed-openvino" / "1"
    text = (folder / "manifest.json").read_text()
    (folder / "manifest.json").write_text(text.replace('"variant": "', '"variant": "other-'))
    write_all_configs(repository, TritonOptions(instances=1))
    with gateway_to(server) as gateway:
        server.load("routed-openvino")  # and not its graphs
        found = "its routed-openvino-router belongs to"
        wait_for(lambda: found in gateway.client.get("/readyz").text)
        assert gateway.detect(FILES[0]).status_code == 503


def test_numbers_that_are_not_finite_are_an_error_and_the_gateway_refuses_the_model(tmp_path):
    build_paths(tmp_path, name="blind", broken="router")
    build_paths(tmp_path, name="lame", broken="path1-k2")
    write_all_configs(tmp_path, TritonOptions(instances=1))
    load = [part.replace("routed", name) for name in ("blind", "lame") for part in PARTS]
    with start_triton(tmp_path, load=[*load, "blind-openvino-detect", "blind-openvino-nms"]) as server:
        sentence = "the router of model 'blind' returned a number that is not finite"
        with TritonClient(server.grpc_url, model="blind") as direct, pytest.raises(Refused, match=sentence):
            direct.detect(FILES[0])
        with gateway_to(server, ready=False) as gateway:

            def refused():
                said = gateway.client.get("/readyz").text
                return said if said.count("is refused") == 2 else None

            said = wait_for(refused)
            assert f"blind-openvino version 1 is refused: {sentence}" in said
            assert "path 1 at top_k 2" in said
