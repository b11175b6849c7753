"""On a real Triton, -detect answers the golden sample equally with manifests of version 1 and 2."""

import json
import shutil

import numpy as np
import pytest
import tritonclient.grpc as grpcclient
from tritonclient.utils import InferenceServerException

from tests.manifests import of_version_1
from tests.triton_server import ROOT, start_triton
from training.export.triton.config import TritonOptions, write_all_configs

STARTER = ROOT / "model_repository" / "starter-openvino"
TYPES = {"images": "UINT8", "top_k": "INT64", "max_det": "INT32"}  # the others are FP32


@pytest.fixture(scope="module")
def server(tmp_path_factory):
    """Yield the starter as it is committed, and as `old` with a manifest of version 1."""
    repository = tmp_path_factory.mktemp("triton") / "model_repository"
    for name in ("starter", "old"):
        shutil.copytree(STARTER, repository / f"{name}-openvino")
    path = repository / "old-openvino" / "1" / "manifest.json"
    path.write_text(json.dumps(of_version_1(json.loads(path.read_text())) | {"name": "old"}))
    write_all_configs(repository, TritonOptions(instances=1))
    with start_triton(repository) as running:
        yield running


@pytest.fixture
def client(server):
    with grpcclient.InferenceServerClient(server.grpc_url) as connected:
        yield connected


@pytest.fixture(scope="module")
def golden():
    with np.load(STARTER / "1" / "golden.npz", allow_pickle=False) as arrays:
        return dict(arrays)


def ask(client, name, golden, **changes):
    """Return every output by name, for the golden canvas."""
    asked = json.loads((STARTER / "1" / "manifest.json").read_text())["golden"]
    inputs = {
        "images": golden["input"],
        "top_k": np.array([[asked["controls"]["top_k"]]], np.int64),
        "weight_threshold": np.array([[asked["controls"]["weight_threshold"]]], np.float32),
        "conf": np.array([asked["params"]["conf"]], np.float32),
        "iou": np.array([0.7], np.float32),
        "max_det": np.array([300], np.int32),
    } | changes
    sent = []
    for key, values in inputs.items():
        sent.append(grpcclient.InferInput(key, list(values.shape), TYPES.get(key, "FP32")))
        sent[-1].set_data_from_numpy(values)
    answer = client.infer(f"{name}-openvino-detect", sent)
    return {output.name: answer.as_numpy(output.name) for output in answer.get_response().outputs}


@pytest.mark.parametrize("name", ["starter", "old"])
def test_the_golden_sample_is_met(client, golden, name):
    answer = ask(client, name, golden)
    assert len(answer["scores"]) == len(golden["det_scores"]) > 0
    assert np.array_equal(answer["class_ids"], golden["det_class_ids"])
    # 8 bit: what another processor may add, far from the tolerance of the manifest (0.4)
    assert np.abs(answer["scores"] - golden["det_scores"]).max() < 0.02
    assert np.abs(answer["gates"] - golden["gates"]).max() < 0.02


@pytest.mark.parametrize("name", ["starter", "old"])
@pytest.mark.parametrize(
    ("change", "sentence"),
    [
        ({"top_k": np.array([[9]], np.int64)}, r"top_k is 9; it must be one of \[0, 1, 2, 3, 4\]"),
        ({"weight_threshold": np.array([[1.5]], np.float32)}, "is 1.5; it must be between 0 and 1"),
        ({"weight_threshold": np.array([[np.nan]], np.float32)}, "is nan; it must be between 0 and 1"),
        ({"conf": np.array([-0.1], np.float32)}, "conf is -0.1; it must be between 0 and 1"),
    ],
)
def test_what_a_control_does_not_allow_is_refused(client, golden, name, change, sentence):
    with pytest.raises(InferenceServerException, match=sentence):
        ask(client, name, golden, **change)
