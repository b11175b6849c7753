"""A model with paths over HTTP: each image takes its own path; answers, metrics and drift name it."""

import time

import numpy as np
import pytest

from clients import RestClient
from clients.table import as_table
from tests.builders import image_bytes
from tests.integration.service.conftest import serve, wait_until_ready
from tests.path_artifacts import (
    BLUE,
    GREEN,
    RED,
    build_paths,
    path_manifest,
    path_probs,
    plain,
    rewrite_sums,
    swap_graphs,
    whole_answer,
)

IMAGES = (RED, GREEN, BLUE)
FILES = tuple(map(image_bytes, IMAGES))
TOKEN = "correct horse battery"
BEARER = {"Authorization": f"Bearer {TOKEN}"}
AT_EXPORT = 'sparsight_path_baseline_share{backend="openvino",model="routed",path="%d",version="%s"}'
TAKEN = 'sparsight_path_images_total{backend="openvino",model="routed",path="%d",version="1"}'


@pytest.fixture(scope="module")
def repository(tmp_path_factory):
    root = tmp_path_factory.mktemp("paths")
    build_paths(root)
    build_paths(root, target="onnx")
    return root


@pytest.fixture(scope="module", params=["openvino", "onnx"])
def running(request, repository):
    with serve(repository=repository, backends=[request.param], explain=True) as served:
        assert wait_until_ready(served).status_code == 200
        yield served


@pytest.mark.parametrize("path", [0, 1, 2])
@pytest.mark.parametrize("top_k", [None, 1, 2])
def test_an_image_takes_its_path_and_the_answer_says_so(running, path, top_k):
    answer = running.detect(FILES[path], **({} if top_k is None else {"top_k": top_k}), conf=0.1).json()
    used = top_k or 2
    want = whole_answer(IMAGES[path], used)
    (found,) = answer["predictions"]
    assert found["class_id"] == path
    assert found["confidence"] == pytest.approx(float(want["scores"][0, 0]), abs=1e-4)
    moe = answer["moe"]
    probability = float(path_probs(IMAGES[path])[path])
    assert moe["path"] == {"index": path, "probability": pytest.approx(probability, abs=1e-5)}
    assert (moe["top_k"], moe["degraded"], moe["routing"]) == (used, False, "normal")
    for layer, gates in zip(moe["layers"], want["gates"][0], strict=True):
        assert layer["active"] == np.flatnonzero(gates).tolist()
        assert layer["weights"] == pytest.approx(gates[gates > 0].tolist(), abs=1e-5)


def test_the_compute_is_that_of_the_route(running):
    used = {top_k: running.detect(FILES[0], top_k=top_k).json()["moe"]["gflops"] for top_k in (1, 2)}
    assert used[1] == pytest.approx({"used": 4.0 + 0.5 + 0.1, "dense": 6.6})
    assert used[2] == pytest.approx({"used": 4.0 + 0.5 + 1.0 + 0.1 + 0.2, "dense": 6.6})


def test_images_of_one_request_take_different_paths(running):
    files = [("image", (f"{i}.png", data, "image/png")) for i, data in enumerate(FILES)]
    results = running.client.post("/detect", files=files).json()["results"]
    assert [one["moe"]["path"]["index"] for one in results] == [0, 1, 2]


def test_a_top_k_without_graphs_is_refused_with_those_that_have_some(running):
    answer = running.detect(FILES[0], top_k=3)
    assert answer.status_code == 422
    assert "top_k=3 is not allowed; use one of: 1, 2" in answer.json()["detail"]
    answer = running.detect(FILES[0], weight_threshold=0.2)
    assert answer.status_code == 422
    assert "model 'routed' has no weight_threshold" in answer.json()["detail"]


def test_models_list_how_the_model_is_routed(running):
    (model,) = running.client.get("/models").json()["models"]
    assert (model["routing"], model["execution"]) == ("path", "dense")
    assert model["top_k"] == {"allowed": [1, 2], "default": 2}


def test_the_typed_client_reads_the_path(running):
    with RestClient(running.url) as client:
        found = client.detect(FILES[2])
    assert found.path.index == 2
    assert found.to_dict()["moe"]["path"] == {"index": 2, "probability": round(found.path.probability, 6)}
    assert f"path 2, {path_probs(BLUE)[2]:.0%}" in as_table("blue.png", found)


def test_an_answer_without_experts_has_no_path(running):
    assert "moe" not in running.detect(FILES[0], moe="off").json()


def test_an_explanation_is_about_the_path(running):
    patched = np.full((64, 64, 3), 120, np.uint8)
    patched[:32, :32] = (255, 0, 0)
    answer = running.detect(image_bytes(patched), explain="route").json()
    (layer,) = answer["explanation"]["layers"]
    assert (layer["layer"], layer["expert"]) == ("path", 0)
    effects = np.array(layer["effects"])
    rows, cols = effects.shape
    in_patch = np.zeros((rows, cols), bool)
    in_patch[: rows // 2, : cols // 2] = True
    assert effects[in_patch].min() > effects[~in_patch].max()
    assert layer["marked_fall"] > layer["random_fall"]


@pytest.fixture
def gateway(start, tmp_path):
    build_paths(tmp_path)
    return start(repository=tmp_path, admin_token=TOKEN), tmp_path


def test_each_path_is_counted_from_0(gateway):
    running, _ = gateway
    assert [running.metrics()[TAKEN % path] for path in range(3)] == [0, 0, 0]
    for path in (0, 2, 2):
        assert running.detect(FILES[path]).status_code == 200
    metrics = running.metrics()
    assert [metrics[TAKEN % path] for path in range(3)] == [1, 0, 2]
    chosen = 'sparsight_expert_activations_total{expert="2",layer="backbone.p4",model="routed",version="1"}'
    assert metrics[chosen] == 2


def test_the_shares_at_export_are_those_of_the_served_version(gateway):
    running, repository = gateway
    assert [running.metrics()[AT_EXPORT % (path, 1)] for path in range(3)] == [0.5, 0.3, 0.2]
    for version, share, told in (("2", [0.2, 0.8, 0], [0.2, 0.8, 0]), ("3", None, [None] * 3)):
        paths = path_manifest("routed", version, "openvino")["paths"] | {"share": share}
        build_paths(repository, version=version, changes={"paths": paths})
        assert running.client.post("/models/reload", headers=BEARER).status_code == 200
        metrics = running.metrics()
        assert [metrics.get(AT_EXPORT % (path, version)) for path in range(3)] == told
        assert sum(name.startswith("sparsight_path_baseline_share") for name in metrics) == (
            3 if share else 0
        )


def test_a_new_version_is_served_after_a_reload(gateway):
    running, repository = gateway
    build_paths(repository, version="2")
    assert running.client.post("/models/reload", headers=BEARER).status_code == 200
    answer = running.detect(FILES[1], top_k=1).json()
    assert (answer["model"]["version"], answer["moe"]["path"]["index"]) == ("2", 1)
    assert running.metrics()[(TAKEN % 1).replace('version="1"', 'version="2"')] == 1


@pytest.mark.parametrize(
    ("broken", "why"),
    [
        ("router", "the router of model 'routed' returned a number that is not finite"),
        ("path1-k2", "path 1 at top_k 2"),
    ],
)
def test_a_version_with_a_broken_graph_is_not_served_and_the_old_one_stays(gateway, broken, why):
    running, repository = gateway
    build_paths(repository, version="2", broken=broken)
    assert running.client.post("/models/reload", headers=BEARER).status_code == 409
    (broken_model,) = running.client.get("/models").json()["broken"]
    assert why in broken_model["why"]
    assert running.detect(FILES[0]).json()["model"]["version"] == "1"


def test_a_golden_sample_on_another_path_is_a_mismatch(gateway):
    running, repository = gateway
    built = build_paths(repository, version="2")
    with np.load(built.folder / "golden.npz") as file:
        arrays = dict(file)
    other = {
        name: value for name, value in whole_answer(GREEN, 2).items() if name in ("gates", "router_probs")
    }
    np.savez(built.folder / "golden.npz", **(arrays | other))
    rewrite_sums(built.folder)
    assert running.client.post("/models/reload", headers=BEARER).status_code == 409
    assert "gates" in running.client.get("/models").json()["broken"][0]["why"]


def test_a_route_with_the_weights_of_another_path_is_refused_at_a_reload_or_at_its_first_use(gateway):
    running, repository = gateway
    swap_graphs(build_paths(repository, version="2").folder, "path1-k2", "path2-k2")
    assert running.client.post("/models/reload", headers=BEARER).status_code == 409
    assert "scores (path 1 at top_k 2) differs" in running.client.get("/models").json()["broken"][0]["why"]
    swap_graphs(build_paths(repository, version="3").folder, "path1-k1", "path2-k1")
    assert running.client.post("/models/reload", headers=BEARER).status_code == 200
    assert running.detect(FILES[1], top_k=2).status_code == 200
    for _ in range(4):  # more than the failures that open a breaker
        refused = running.detect(FILES[1], top_k=1)
        assert refused.status_code == 503
        assert "scores (path 1 at top_k 1) differs" in refused.json()["detail"]
    assert running.detect(FILES[1], top_k=2).status_code == 200
    assert running.detect(FILES[0], top_k=1).status_code == 200


def test_under_load_an_image_takes_the_sibling_of_its_path_unless_it_forbids_it(start, tmp_path):
    build_paths(tmp_path)
    running = start(repository=tmp_path, brownout={"min_top_k": 1})
    brownout = running.app.state.service.models.routes(None)["openvino"].brownout
    brownout._step = 8  # full effort, as after many long waits; images without a wait lower it only slowly
    lowered, asked = running.detect(FILES[2]).json(), running.detect(FILES[2], top_k=2).json()
    high = running.detect(FILES[2], quality="high").json()
    assert [(one["moe"]["top_k"], one["moe"]["degraded"]) for one in (lowered, asked, high)] == [
        (1, True),
        (2, False),
        (2, False),
    ]
    assert {one["moe"]["path"]["index"] for one in (lowered, asked, high)} == {2}
    half = lowered["predictions"][0]["confidence"] / asked["predictions"][0]["confidence"]
    assert half == pytest.approx(0.5, abs=1e-4)
    assert lowered["moe"]["gflops"]["used"] < asked["moe"]["gflops"]["used"]
    assert running.metrics()['sparsight_degraded_images_total{model="routed"}'] == 1


def routed(running):
    (version,) = running.client.get("/routing").json()["versions"]
    return version


def test_images_are_compared_with_the_baseline_of_their_top_k(gateway):
    running, _ = gateway
    running.detect(FILES[0])
    for _ in range(200):
        if not routed(running)["not_compared"]:
            break
        time.sleep(0.02)
    for i in range(30):
        assert running.detect(FILES[(0, 0, 1, 1, 2)[i % 5]]).status_code == 200
    running.detect(FILES[0], top_k=1)
    version = routed(running)
    assert (version["state"], version["judged"]) == ("normal", 31)
    (default, sibling) = version["settings"]
    assert (default["images"], sibling["images"]) == (30, 1)
    assert default["novelty"] == pytest.approx(0.5)
    path = next(layer for layer in default["layers"] if layer["layer"] == "path")
    assert path["drift_bits"] < 0.1


def test_images_on_other_shares_of_the_paths_drift(gateway):
    running, _ = gateway
    for _ in range(200):
        running.detect(FILES[2])
        if not routed(running)["not_compared"]:
            break
    for number in range(500):
        answer = running.detect(FILES[(2, 1, 2, 0, 2)[number % 5]]).json()["moe"]
        if answer["routing"] == "drifting":
            break
    assert (answer["routing"], answer["drift"]["test"]) == ("drifting", "sets")


def test_audits_find_that_both_engines_take_the_same_paths(start, repository):
    running = start(repository=repository, audit={"share": 1, "reference": "onnx"}, admin_token=TOKEN)

    def outcomes():
        backends = running.client.get("/audits", headers=BEARER).json()["backends"]
        return backends[0]["outcomes"] if backends else {}

    for number, data in enumerate(FILES * 3, 1):  # one after the other: of many that wait, some are skipped
        assert running.detect(data).status_code == 200
        for _ in range(200):
            if sum(outcomes().values()) == number:
                break
            time.sleep(0.05)
    assert outcomes() == {"agrees": 9, "disagrees": 0, "failed": 0, "skipped": 0}


def test_a_grey_image_has_a_probability_of_a_third(running):
    answer = running.detect(image_bytes(plain((90, 90, 90)))).json()
    assert answer["moe"]["path"] == {"index": 0, "probability": pytest.approx(1 / 3, abs=1e-6)}
