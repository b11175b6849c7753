"""Triton's options in docker-compose.yml work on a real tritonserver."""

import shutil
import urllib.error
import urllib.request
from pathlib import Path

import pytest

from tests.contract.test_deploy import compose
from tests.triton_server import start_triton, why_no_triton

pytestmark = [
    pytest.mark.skipif(why_no_triton() is not None, reason=str(why_no_triton())),
    pytest.mark.heavy,
]

ROOT = Path(__file__).resolve().parents[2]


@pytest.fixture(scope="module")
def repository(tmp_path_factory):
    """Return a repository with a good model, a model without its graph, and files that are no models."""
    folder = tmp_path_factory.mktemp("repository")
    shutil.copytree(ROOT / "model_repository" / "starter-openvino", folder / "starter-openvino")
    shutil.copytree(folder / "starter-openvino", folder / "broken-openvino")
    (folder / "broken-openvino" / "1" / "model.xml").unlink()
    config = folder / "broken-openvino" / "config.pbtxt"
    config.write_text(config.read_text().replace('name: "starter-openvino"', 'name: "broken-openvino"'))
    shutil.copy(ROOT / "model_repository" / "README.md", folder)
    (folder / ".staging-1").mkdir()
    return folder


def options_of_the_stack():
    command = compose("cpu")["services"]["triton"]["command"]
    assert command[:2] == ["tritonserver", "--model-repository=/models"]
    return command[2:]


def status(server, path):
    try:
        with urllib.request.urlopen(f"http://{server.http_url}{path}", timeout=5) as answer:
            return answer.status
    except urllib.error.HTTPError as error:
        return error.code


def test_one_model_that_cannot_be_loaded_does_not_take_the_server_along(repository):
    options = options_of_the_stack()
    with start_triton(repository, load=[], extra=options) as server:
        assert status(server, "/v2/health/ready") == 200
        assert status(server, "/v2/models/starter-openvino/ready") == 200
        assert status(server, "/v2/models/broken-openvino/ready") == 400
    lenient = [option for option in options if option != "--strict-readiness=false"]
    with start_triton(repository, load=[], extra=lenient) as server:
        assert status(server, "/v2/health/ready") == 400  # why the option is there
