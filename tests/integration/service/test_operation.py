"""The endpoints for operators: models, health, readiness, metrics."""

import asyncio
import hashlib
import json

import numpy as np
import pytest
from prometheus_client import CollectorRegistry

from service.__main__ import OPENAPI_FILE
from service.errors import ArtifactBroken, ArtifactMismatch
from service.metrics import Metrics
from service.serving.models import Models
from service.serving.open import open_models
from service.settings import Settings
from tests.builders import build_artifact, golden_image, image_bytes, write_manifest

RED = image_bytes(golden_image())


def test_models_are_described(served):
    listed = served.client.get("/models").json()
    assert listed["default"] == "tiny"
    (model,) = listed["models"]
    assert model["classes"] == ["red", "green", "blue"]
    assert model["top_k"] == {"allowed": [1, 2, 3, 4], "default": 2}
    assert [layer["num_experts"] for layer in model["mixture"]] == [4, 3]
    assert model["sha256"] == served.detect(RED).json()["model"]["sha256"]
    (version,) = model["versions"]
    assert version == {
        "backend": "openvino",
        "version": "1",
        "target": "openvino",
        "precision": "f32",
        "sha256": model["sha256"],
        "state": "ready",
        "why": "",
    }


def test_the_service_is_alive_and_ready(served):
    assert served.client.get("/healthz").json() == {"status": "ok"}
    assert served.client.get("/readyz").json() == {"status": "ready"}


def test_the_served_description_is_the_committed_one(served):
    assert served.client.get("/openapi.json").json() == json.loads(OPENAPI_FILE.read_text())


def test_an_expert_that_was_never_chosen_is_shown_at_zero(start, repository):
    fresh = start(repository=repository).metrics()
    for name in ("activations_total", "gate_weight_total"):
        labels = 'expert="3",layer="backbone.p4",model="tiny",version="1"'
        assert fresh[f"sparsight_expert_{name}{{{labels}}}"] == 0
    assert fresh[f"sparsight_expert_baseline_share{{{labels}}}"] == 0.5
    assert fresh['sparsight_backend_up{backend="openvino"}'] == 1
    assert [name for name in fresh if name.startswith("sparsight_model_info")]
    assert fresh['sparsight_requests_rejected_total{reason="overloaded"}'] == 0
    assert fresh['sparsight_breaker_state{backend="openvino",model="tiny"}'] == 0
    assert fresh['sparsight_queue_depth{backend="openvino"}'] == 0
    assert fresh['sparsight_queue_wait_seconds_count{backend="openvino"}'] == 0
    assert fresh['sparsight_failovers_total{backend="openvino"}'] == 0
    for reason in ("backend-busy", "backend-failed", "backend-unavailable", "deadline-exceeded"):
        assert fresh[f'sparsight_backend_errors_total{{backend="openvino",reason="{reason}"}}'] == 0


def test_the_number_of_series_is_bounded(served):
    assert len(served.metrics()) < 3000


def test_requests_that_ended_are_no_longer_in_flight(served):
    served.detect(RED)
    assert served.metrics()["sparsight_inflight_requests"] == 1  # this one, which asks for metrics


def test_two_models_are_served_by_name_and_one_without(start, tmp_path):
    build_artifact(tmp_path, name="alpha")
    build_artifact(tmp_path, name="beta")
    both = start(repository=tmp_path, default_model="beta")
    assert both.detect(RED).json()["model"]["name"] == "beta"
    assert both.detect(RED, model="alpha").json()["model"]["name"] == "alpha"


def break_golden(built):
    """Store gates that no engine will reproduce, with a correct sha256."""
    path = built.folder / "golden.npz"
    arrays = dict(np.load(path))
    arrays["gates"] = arrays["gates"][..., ::-1]
    np.savez(path, **arrays)
    files = built.manifest["files"] | {"golden.npz": hashlib.sha256(path.read_bytes()).hexdigest()}
    write_manifest(built.folder, built.manifest | {"files": files})


def test_a_model_that_does_not_reproduce_its_golden_sample_never_becomes_ready(start, tmp_path):
    built = build_artifact(tmp_path)
    break_golden(built)
    failed = start(repository=tmp_path)
    answer = failed.client.get("/readyz")
    assert answer.status_code == 503
    assert "gates differs by 0.6" in answer.json()["detail"]
    assert answer.headers["retry-after"] == "5"
    assert failed.detect(RED).status_code == 503
    assert failed.client.get("/models").status_code == 503
    assert failed.client.get("/healthz").status_code == 200


def test_what_failed_is_named(tmp_path):
    break_golden(build_artifact(tmp_path))
    settings = Settings(repository=tmp_path)

    async def load():
        async with open_models(settings, Models(settings, Metrics(CollectorRegistry()))):
            pass

    with pytest.raises(ArtifactBroken, match="the default model 'tiny' cannot be served: golden") as caught:
        asyncio.run(load())
    cause = caught.value.__cause__
    assert isinstance(cause, ArtifactMismatch)
    assert (cause.name, cause.limit) == ("gates", 1e-4)
    assert cause.error > 0.6
