"""The status that the gateway gives for each state and error of a model on a real Triton."""

import pytest

from tests.builders import build_artifact, golden_image, image_bytes
from tests.integration.triton.test_gateway import MODEL, gateway_to, wait_for
from tests.triton_server import start_triton
from training.export.triton.config import TritonOptions, write_all_configs

RED = image_bytes(golden_image())
ANSWERER = '''
import json
from pathlib import Path

import numpy as np
import triton_python_backend_utils as pb_utils


class TritonPythonModel:
    """Answers the golden sample, or the error that lies in a file."""

    def initialize(self, args):
        folder = Path(args["model_repository"]) / args["model_version"]
        self._golden = dict(np.load(folder / "golden.npz"))
        self._outputs = [output["name"] for output in json.loads(args["model_config"])["output"]]
        self._error = folder.parent / "error"

    def execute(self, requests):
        name = self._error.read_text() if self._error.exists() else ""
        if name == "EXCEPTION":
            raise ValueError("a defect in the model")
        if name:
            error = pb_utils.TritonError("as the test says", getattr(pb_utils.TritonError, name))
            return [pb_utils.InferenceResponse(error=error) for _ in requests]
        tensors = [pb_utils.Tensor(name, self._golden[name]) for name in self._outputs]
        return [pb_utils.InferenceResponse(tensors) for _ in requests]
'''


@pytest.fixture(scope="module")
def repository(tmp_path_factory):
    folder = tmp_path_factory.mktemp("models")
    built = build_artifact(folder)
    write_all_configs(folder, TritonOptions(), name="tiny")
    config = folder / MODEL / "config.pbtxt"
    text = config.read_text().replace('backend: "openvino"', 'backend: "python"')
    config.write_text(text.replace('"model.xml"', '"model.py"'))
    (built.folder / "model.py").write_text(ANSWERER)
    return folder


@pytest.fixture(scope="module")
def gateway(repository):
    with (
        start_triton(repository, load=[MODEL]) as server,
        gateway_to(server, probe_interval_s=1.0) as gateway,
    ):
        yield gateway


@pytest.mark.parametrize(
    ("said", "status", "problem"),
    [
        ("INVALID_ARG", 500, "backend-failed"),
        ("UNSUPPORTED", 500, "backend-failed"),
        ("INTERNAL", 503, "backend-unavailable"),
        ("EXCEPTION", 503, "backend-unavailable"),
        ("UNKNOWN", 503, "backend-unavailable"),
        ("UNAVAILABLE", 503, "backend-unavailable"),
        ("NOT_FOUND", 503, "backend-unavailable"),
        ("CANCELLED", 503, "backend-unavailable"),
    ],
)
def test_what_triton_says_becomes_a_problem(repository, gateway, said, status, problem):
    wait_for(lambda: gateway.detect(RED).status_code == 200)
    file = repository / MODEL / "error"
    file.write_text(said)
    try:
        answer = gateway.detect(RED)
    finally:
        file.unlink()
    assert (answer.status_code, answer.json()["type"].rpartition(":")[2]) == (status, problem), answer.text
    assert "/models" not in answer.json()["detail"], "the server's paths are its own affair"
    errors = gateway.metrics()[f'sparsight_backend_errors_total{{backend="triton",reason="{problem}"}}']
    assert errors >= 1
