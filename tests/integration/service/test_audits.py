"""Audits over HTTP: who may read the evidence, what callers see of a quarantine, and how it ends."""

import json
import logging
import time

import pytest

from tests.audit_builders import build_faulty, scene
from tests.builders import build_artifact

TOKEN = "correct horse battery"
BEARER = {"Authorization": f"Bearer {TOKEN}"}


@pytest.fixture
def audited(start, tmp_path):
    """Start a service whose version 2 is faulty, and whose reference is version 1."""
    build_artifact(tmp_path)
    build_faulty(tmp_path, version="2")
    return start(repository=tmp_path, audit={"share": 1}, admin_token=TOKEN)


def report(running):
    answer = running.client.get("/audits", headers=BEARER)
    assert answer.status_code == 200, answer.text
    return answer.json()


def send_until_refused(running, images=200):
    """Send blue images until a request is refused; return how many were answered."""
    for number in range(images):
        answer = running.detect(scene("blue", number))
        if answer.status_code != 200:
            return number
        waiting = number
        while sum(sum(one["outcomes"].values()) for one in report(running)["backends"]) <= waiting:
            time.sleep(0.005)
    raise AssertionError(f"all of {images} images were answered")


def test_a_faulty_expert_is_found_within_two_hundred_requests_and_callers_learn_why(audited):
    assert send_until_refused(audited) <= 200
    refused = audited.detect(scene("red", 0))
    assert refused.status_code == 503
    assert "version 2 on openvino is in quarantine" in refused.json()["detail"]
    assert refused.headers["retry-after"]
    ready = audited.client.get("/readyz")
    assert ready.status_code == 503
    assert "quarantine" in ready.json()["detail"]
    (version,) = audited.client.get("/models").json()["models"][0]["versions"]
    assert version["state"] == "quarantined"
    assert "GET /audits has the evidence" in version["why"]
    metrics = audited.metrics()
    assert metrics['sparsight_backend_quarantined{backend="openvino",model="tiny"}'] == 1
    assert metrics['sparsight_backend_up{backend="openvino"}'] == 0


def test_the_evidence_names_images_experts_and_sizes_and_holds_no_image(audited):
    send_until_refused(audited)
    (backend,) = report(audited)["backends"]
    assert (backend["model"], backend["version"], backend["backend"]) == ("tiny", "2", "openvino")
    assert backend["state"] == "quarantined"
    assert backend["reference"] | {"sha256": ""} == {
        "engine": "openvino",
        "target": "openvino",
        "version": "1",
        "precision": "f32",
        "sha256": "",
        "same_files": False,
    }
    assert backend["evidence"] >= backend["alarm"]
    assert backend["disagreeing"] <= backend["counted"]
    assert (backend["suspects"][0]["layer"], backend["suspects"][0]["expert"]) == ("backbone.p4", 2)
    newest = backend["disagreements"][0]
    (difference,) = newest["differences"]
    assert (difference["kind"], difference["where"]) == ("missing", "blue, box 0")
    assert 0.25 < difference["by"] <= 1
    assert newest["id"]
    assert len(json.dumps(backend)) < 20_000


def test_only_an_administrator_reads_the_evidence_or_ends_a_quarantine(start, repository, audited):
    for method, path in (("GET", "/audits"), ("POST", "/audits/release?model=tiny&backend=openvino")):
        for headers in ({}, {"Authorization": "Bearer wrong"}):
            assert audited.client.request(method, path, headers=headers).status_code == 401
    off = start(repository=repository)
    assert off.client.get("/audits").status_code == 403
    assert "SPARSIGHT_ADMIN_TOKEN" in off.client.get("/audits").json()["detail"]


def test_an_administrator_ends_a_quarantine_and_wrong_names_are_explained(audited):
    def release(**query):
        return audited.client.post("/audits/release", params=query, headers=BEARER)

    early = release(model="tiny", backend="openvino")
    assert early.status_code == 422
    assert "not in quarantine" in early.json()["detail"]
    send_until_refused(audited)
    assert release(model="huge", backend="openvino").status_code == 404
    assert release(model="tiny", backend="triton").status_code == 422
    assert release(model="tiny").status_code == 422
    assert release(model="tiny", backend="openvino").json() == {"share": 1.0, "backends": []}
    assert audited.detect(scene("red", 0)).status_code == 200
    assert audited.client.get("/readyz").status_code == 200
    assert audited.metrics()['sparsight_backend_quarantined{backend="openvino",model="tiny"}'] == 0


def test_a_new_version_ends_a_quarantine(audited, tmp_path):
    send_until_refused(audited)
    build_artifact(tmp_path, version="3")
    assert audited.client.post("/models/reload", headers=BEARER).status_code == 200
    assert audited.detect(scene("blue", 0)).json()["model"]["version"] == "3"
    (version,) = audited.client.get("/models").json()["models"][0]["versions"]
    assert (version["version"], version["state"], version["why"]) == ("3", "ready", "")


def test_without_a_second_export_report_and_log_say_that_wrong_weights_stay_unseen(start, tmp_path, caplog):
    caplog.set_level(logging.INFO)
    build_faulty(tmp_path)
    running = start(repository=tmp_path, audit={"share": 1}, admin_token=TOKEN)
    for number in range(20):
        assert running.detect(scene("blue", number)).status_code == 200
        time.sleep(0.02)
    (backend,) = report(running)["backends"]
    assert backend["reference"]["same_files"] is True
    (opened,) = [one for one in caplog.records if one.message == "audit_reference_opened"]
    assert opened.same_files is True
    assert backend["outcomes"]["disagrees"] == 0
    assert backend["outcomes"]["agrees"] > 0


def test_audits_are_off_by_default_and_the_series_are_at_zero(start, repository):
    running = start(repository=repository, admin_token=TOKEN)
    running.detect(scene("red", 0))
    assert report(running) == {"share": 0.0, "backends": []}
    metrics = running.metrics()
    for outcome in ("agrees", "disagrees", "failed", "skipped"):
        labels = f'backend="openvino",model="tiny",outcome="{outcome}",version="1"'
        assert metrics[f"sparsight_audited_images_total{{{labels}}}"] == 0


def test_images_of_one_request_and_drawings_are_audited_too(start, tmp_path):
    build_artifact(tmp_path)
    running = start(repository=tmp_path, audit={"share": 1}, admin_token=TOKEN)
    running.client.post("/detect/batch", files={"a": scene("red", 0), "b": scene("blue", 1)})
    running.detect(scene("green", 2), format="jpeg")
    for _ in range(200):
        backends = report(running)["backends"]
        if backends and backends[0]["outcomes"]["agrees"] == 3:
            return
        time.sleep(0.02)
    raise AssertionError(backends)
