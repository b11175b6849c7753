"""A broken model keeps no other from serving; new versions are served without a failed request."""

import hashlib
import os
import shutil
import signal
import subprocess
import threading
import time

import httpx
import pytest

from service.pipeline.decode import decode
from tests.builders import build_artifact, build_classifier, golden_image, image_bytes, write_manifest
from tests.integration.service.test_operation import break_golden
from tests.integration.service.test_process import command

RED = image_bytes(golden_image())
TOKEN = "correct horse battery"
BEARER = {"Authorization": f"Bearer {TOKEN}"}


def cut_graph(built):
    (built.folder / "model.bin").write_bytes(b"")


def drop_manifest(built):
    (built.folder / "manifest.json").unlink()


def spoil_manifest(built):
    (built.folder / "manifest.json").write_text('{"schema_version": 2}')


def refuse_graph(built):
    """Store a graph that the engine cannot read, with a correct sha256."""
    path = built.folder / "model.xml"
    path.write_text("<net/>")
    files = built.manifest["files"] | {"model.xml": hashlib.sha256(path.read_bytes()).hexdigest()}
    write_manifest(built.folder, built.manifest | {"files": files})


def reload(running, **headers):
    return running.client.post("/models/reload", headers=BEARER | headers)


@pytest.mark.parametrize("damage", [break_golden, cut_graph, drop_manifest, spoil_manifest, refuse_graph])
def test_a_broken_model_is_reported_and_the_others_serve(start, tmp_path, damage):
    build_artifact(tmp_path, name="alpha")
    damage(build_artifact(tmp_path, name="beta"))
    running = start(repository=tmp_path)
    assert running.detect(RED).json()["model"]["name"] == "alpha"
    listed = running.client.get("/models").json()
    assert [model["name"] for model in listed["models"]] == ["alpha"]
    (broken,) = listed["broken"]
    assert (broken["name"], broken["backend"]) == ("beta", "openvino")
    assert broken["why"]
    answer = running.detect(RED, model="beta")
    assert answer.status_code == 503
    assert broken["why"] in answer.json()["detail"]
    assert "model 'beta' on openvino: " in running.client.get("/readyz").json()["notes"][0]
    assert running.metrics()['sparsight_broken_models{backend="openvino"}'] == 1


def test_a_broken_default_model_is_not_replaced_by_another(start, tmp_path):
    cut_graph(build_artifact(tmp_path, name="alpha"))
    build_artifact(tmp_path, name="beta")
    answer = start(repository=tmp_path).client.get("/readyz")
    assert answer.status_code == 503
    assert "the default model 'alpha' cannot be served" in answer.json()["detail"]
    assert start(repository=tmp_path, default_model="beta").detect(RED).json()["model"]["name"] == "beta"


def test_reload_is_off_without_a_token_and_refused_without_the_right_one(start, repository):
    off = start(repository=repository).client.post("/models/reload", headers=BEARER)
    assert off.status_code == 403
    assert "SPARSIGHT_ADMIN_TOKEN is not set" in off.json()["detail"]
    running = start(repository=repository, admin_token=TOKEN)
    for wrong in (
        {},
        {"Authorization": TOKEN},
        {"Authorization": "Bearer correct"},
        {"Authorization": "Bearer"},
    ):
        answer = running.client.post("/models/reload", headers=wrong)
        assert (answer.status_code, answer.headers["www-authenticate"]) == (401, "Bearer")
    assert reload(running).json() == {"loaded": [], "removed": []}


def test_new_versions_and_models_come_and_old_ones_go(start, tmp_path):
    build_artifact(tmp_path, name="alpha")
    build_artifact(tmp_path, name="beta")
    running = start(repository=tmp_path, admin_token=TOKEN)
    build_artifact(tmp_path, name="alpha", version="2")
    build_classifier(tmp_path, name="colours")
    shutil.rmtree(tmp_path / "beta-openvino")
    assert reload(running).json() == {
        "loaded": ["alpha version 2 on openvino", "colours version 1 on openvino"],
        "removed": ["beta version 1 on openvino"],
    }
    assert running.detect(RED).json()["model"]["version"] == "2"
    assert running.detect(RED, version="1").status_code == 404
    assert running.detect(RED, model="beta").status_code == 404
    listed = running.client.get("/models").json()
    assert [(model["name"], model["version"]) for model in listed["models"]] == [
        ("alpha", "2"),
        ("colours", "1"),
    ]
    served = [name for name in running.metrics() if name.startswith("sparsight_model_info")]
    assert len(served) == 2
    shutil.rmtree(tmp_path / "alpha-openvino" / "2")
    assert reload(running).json()["loaded"] == ["alpha version 1 on openvino"]


def test_a_version_that_fails_its_proof_leaves_the_old_one_serving(start, tmp_path):
    build_artifact(tmp_path, name="alpha")
    running = start(repository=tmp_path, admin_token=TOKEN)
    bad = build_artifact(tmp_path, name="alpha", version="2")
    break_golden(bad)
    build_artifact(tmp_path, name="beta")
    answer = reload(running)
    assert (answer.status_code, answer.json()["type"]) == (409, "urn:sparsight:problem:reload-incomplete")
    assert "model 'alpha': golden sample: gates differs" in answer.json()["detail"]
    assert "loaded: beta version 1 on openvino" in answer.json()["detail"]
    assert running.detect(RED).json()["model"]["version"] == "1"
    (broken,) = running.client.get("/models").json()["broken"]
    assert broken["why"].endswith("alpha version 1 on openvino stays in service")
    shutil.rmtree(bad.folder)
    build_artifact(tmp_path, name="alpha", version="3")
    assert reload(running).json()["loaded"] == ["alpha version 3 on openvino"]
    assert running.client.get("/models").json()["broken"] == []


@pytest.mark.parametrize("loss", ["the default model", "the repository"])
def test_the_default_model_is_served_to_the_end(start, tmp_path, loss):
    repository = tmp_path / "models"
    build_artifact(repository, name="alpha")
    build_artifact(repository, name="beta")
    running = start(repository=repository, admin_token=TOKEN)
    shutil.rmtree(repository / "alpha-openvino" if loss == "the default model" else repository)
    assert reload(running).status_code == 409
    assert running.detect(RED).json()["model"]["name"] == "alpha"


def test_no_request_fails_while_versions_change(start, tmp_path):
    build_artifact(tmp_path)
    running = start(repository=tmp_path, admin_token=TOKEN)
    seen, ended = [], threading.Event()

    def ask():
        with httpx.Client(base_url=running.url, trust_env=False, timeout=20) as client:
            while not ended.is_set():
                answer = client.post("/detect", content=RED)
                seen.append((answer.status_code, answer.json().get("model", {}).get("version")))

    threads = [threading.Thread(target=ask) for _ in range(4)]
    for thread in threads:
        thread.start()
    try:
        for version in ("2", "3", "4"):
            build_artifact(tmp_path, version=version)
            assert reload(running).status_code == 200
            assert running.detect(RED).json()["model"]["version"] == version
    finally:
        ended.set()
        for thread in threads:
            thread.join()
    assert {code for code, _ in seen} == {200}
    assert {version for _, version in seen} >= {"1", "4"}


def test_a_request_that_has_begun_ends_with_its_version(start, tmp_path, monkeypatch):
    build_artifact(tmp_path)
    running = start(repository=tmp_path, admin_token=TOKEN)
    begun, reloaded, answers = threading.Event(), threading.Event(), []

    def wait_and_decode(*given):
        begun.set()
        assert reloaded.wait(20)
        return decode(*given)

    monkeypatch.setattr("service.serving.stages.decode", wait_and_decode)
    thread = threading.Thread(target=lambda: answers.append(running.detect(RED, timeout_ms=20_000)))
    thread.start()
    assert begun.wait(20)
    build_artifact(tmp_path, version="2")
    assert reload(running).json()["loaded"] == ["tiny version 2 on openvino"]
    assert running.client.get("/models").json()["models"][0]["version"] == "2"
    reloaded.set()
    thread.join()
    assert (answers[0].status_code, answers[0].json()["model"]["version"]) == (200, "1")
    assert running.detect(RED).json()["model"]["version"] == "2"


def test_sighup_loads_a_new_version_in_the_process(tmp_path):
    build_artifact(tmp_path)
    started = command(SPARSIGHT_REPOSITORY=tmp_path, PORT=0) | {"stdin": subprocess.DEVNULL}
    with subprocess.Popen(**started) as process:
        url = next(line for line in process.stderr if "ready: open" in line).split()[-1]
        build_artifact(tmp_path, version="2")
        process.send_signal(signal.SIGHUP)
        assert next(line for line in process.stderr if "sparsight: loaded: ['tiny version 2" in line)
        with httpx.Client(trust_env=False) as client:
            assert client.post(f"{url}detect", content=RED).json()["model"]["version"] == "2"
        process.send_signal(signal.SIGTERM)
        process.stderr.read()
        assert process.wait(timeout=30) == 0


def test_a_closed_terminal_ends_the_service(tmp_path):
    build_artifact(tmp_path)
    ours, theirs = os.openpty()
    with subprocess.Popen(
        **command(SPARSIGHT_REPOSITORY=tmp_path, PORT=0), stdin=theirs, start_new_session=True
    ) as process:
        os.close(theirs)
        assert next(line for line in process.stderr if "ready: open" in line)
        os.close(ours)
        time.sleep(0.1)
        process.send_signal(signal.SIGHUP)
        process.stderr.read()
        assert process.wait(timeout=30) == 0


def test_one_answer_in_coco_never_mixes_the_classes_of_two_versions(start, tmp_path, monkeypatch):
    build_artifact(tmp_path)
    running = start(repository=tmp_path, admin_token=TOKEN)
    begun, reloaded, answers = threading.Event(), threading.Event(), []

    def wait_and_decode(*given):
        begun.set()
        assert reloaded.wait(20)
        return decode(*given)

    monkeypatch.setattr("service.serving.stages.decode", wait_and_decode)
    files = [("image", (f"{i}.png", RED)) for i in range(1, 6)]  # four are begun at once
    send = lambda: answers.append(running.client.post("/detect?format=coco", files=files).json())  # noqa: E731
    thread = threading.Thread(target=send)
    thread.start()
    assert begun.wait(20)
    build_artifact(tmp_path, version="2", changes={"class_names": ["blue", "green", "red"]})
    assert reload(running).status_code == 200
    reloaded.set()
    thread.join()
    (answer,) = answers
    assert [one["name"] for one in answer["categories"]] == ["red", "green", "blue"]
    assert {one["image_id"] for one in answer["results"]} == {1, 2, 3, 4}
    assert (answer["problems"]["5"]["status"], answer["problems"]["5"]["file"]) == (503, "5.png")
    assert "send this image again" in answer["problems"]["5"]["detail"]
