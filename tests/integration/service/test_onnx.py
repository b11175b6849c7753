"""ONNX exports are served by ONNX Runtime and by OpenVINO, also together with other backends."""

import asyncio

import numpy as np
import pytest
from prometheus_client import CollectorRegistry

from service.errors import ArtifactMissing, SettingsInvalid
from service.metrics import Metrics
from service.serving.models import Models
from service.serving.open import open_models
from service.settings import Settings
from tests.builders import build_artifact, golden_image, image_bytes
from tests.onnx_builders import build_branches, build_static, build_static_of_version_1

RED = image_bytes(golden_image())
GREEN = image_bytes(np.full((64, 64, 3), (0, 204, 0), np.uint8))


@pytest.mark.parametrize(
    "settings",
    [
        pytest.param({"backends": "openvino", "target": "npu"}, id="openvino"),
        pytest.param({"backends": "onnx", "onnx": {"target": "npu"}}, id="onnx"),
    ],
)
def test_a_static_graph_is_served(start, tmp_path, settings):
    build_static(tmp_path)
    answer = start(repository=tmp_path, **settings).detect(RED).json()
    assert answer["model"]["backend"] == settings["backends"]
    assert [one["class"] for one in answer["predictions"]] == ["red", "green"]
    assert answer["moe"] == {
        "layers": [],
        "top_k": None,
        "gflops": {"used": 6.6, "dense": 6.6},
        "degraded": False,
        "routing": "normal",
    }


@pytest.mark.parametrize("backends", ["openvino", "onnx"])
def test_an_export_of_version_1_is_served_as_ever(start, tmp_path, backends):
    build_static_of_version_1(tmp_path)
    running = start(repository=tmp_path, backends=backends, target="onnx")
    found = running.detect(RED).json()["predictions"]
    assert [one["class"] for one in found] == ["red", "green"]
    answer = running.detect(RED, top_k=1)
    assert answer.status_code == 422
    assert answer.json()["detail"] == "model 'old' has no top_k; leave it out"


def test_onnx_runtime_has_thresholds_for_single_classes_and_agnostic_suppression(start, tmp_path):
    build_static(tmp_path)
    running = start(repository=tmp_path, backends="onnx", onnx={"target": "npu"})

    def classes(**query):
        return [one["class"] for one in running.detect(RED, **query).json()["predictions"]]

    assert classes() == ["red", "green"]
    assert classes(conf="red:1") == ["green"]
    assert classes(conf="1,red:0") == ["red"]
    assert classes(agnostic_nms="true", iou=0) == classes(conf="green:1")


def test_branches_are_served_and_their_experts_told(start, tmp_path):
    build_branches(tmp_path)
    running = start(repository=tmp_path, backends="onnx")
    for data, colour, expert in ((RED, "red", 0), (GREEN, "green", 1)):
        answer = running.detect(data, backend="onnx").json()
        assert [one["class"] for one in answer["predictions"]] == [colour]
        (layer,) = answer["moe"]["layers"]
        assert layer["active"] == [expert]
        assert answer["moe"]["gflops"]["used"] == 4.0 + (1.0, 2.0)[expert]
    metrics = running.metrics()
    assert metrics['sparsight_backend_up{backend="onnx"}'] == 1


def test_two_engines_in_one_process_serve_their_own_exports(start, tmp_path):
    build_artifact(tmp_path, name="shared")
    build_branches(tmp_path, name="shared")
    build_branches(tmp_path, name="branches")
    both = start(repository=tmp_path, backends="onnx,openvino")
    assert both.detect(RED, model="shared").json()["model"]["backend"] == "onnx"
    assert both.detect(RED, model="shared", backend="openvino").json()["model"]["backend"] == "openvino"
    described = {one["name"]: one["backends"] for one in both.client.get("/models").json()["models"]}
    assert described == {"shared": ["onnx", "openvino"], "branches": ["onnx"]}
    absent = both.detect(RED, model="branches", backend="openvino")
    assert absent.status_code == 503
    assert absent.json()["detail"] == (
        "openvino has no model 'branches'; export one: python -m training export CHECKPOINT"
        " --name branches --target openvino, and reload the models"
    )
    both.detect(RED, model="shared", backend="auto").raise_for_status()  # the others are as well as before


def load(**settings):
    chosen = Settings(**settings)

    async def open_and_close():
        async with open_models(chosen, Models(chosen, Metrics(CollectorRegistry()))):
            pass

    asyncio.run(open_and_close())


def test_a_backend_without_exports_of_its_target_says_so(tmp_path):
    build_artifact(tmp_path)
    with pytest.raises(ArtifactMissing, match=r"no model for target 'onnx'.* --name NAME --target onnx"):
        load(repository=tmp_path, backends="openvino,onnx")


def test_a_default_model_may_be_on_any_backend_and_must_be_on_one(tmp_path):
    build_artifact(tmp_path)
    build_branches(tmp_path)
    both = {"repository": tmp_path, "backends": "openvino,onnx"}
    load(**both, default_model="branches")
    load(**both, default_model="tiny")
    with pytest.raises(SettingsInvalid, match=r"default_model 'huge' is not .* it has branches, tiny"):
        load(**both, default_model="huge")


def test_a_control_that_only_this_model_has_is_a_parameter_of_its_name(start, tmp_path):
    build_branches(tmp_path, control="experts")
    running = start(repository=tmp_path, backends="onnx")
    assert running.detect(RED, experts=1).status_code == 200
    refusals = {
        "experts=2": "experts=2 is not allowed; use one of: 1",
        "experts=many": "experts=many is not allowed; use one of: 1",
        "expert=1": "there is no parameter 'expert'; did you mean 'experts'?",
        "top_k=1": "model 'branches' has no top_k; leave it out",
        "experts=1&experts=1": "experts is given 2 times",
    }
    for query, sentence in refusals.items():
        answer = running.client.post(f"/detect?{query}", content=RED)
        assert answer.status_code == 422
        assert sentence in answer.json()["detail"]
    assert running.detect(RED).json()["moe"]["top_k"] is None
