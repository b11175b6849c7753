"""A real service with the tiny model, and the client installed as users install it."""

import pytest

from tests.builders import build_artifact, golden_image, image_bytes
from tests.client_package import install_client
from tests.integration.service.conftest import serve, wait_until_ready


@pytest.fixture(scope="module")
def served(tmp_path_factory):
    repository = build_artifact(tmp_path_factory.mktemp("served")).repository
    with serve(repository=repository) as running:
        assert wait_until_ready(running).status_code == 200
        yield running


@pytest.fixture(scope="module")
def installed(tmp_path_factory):
    return install_client(tmp_path_factory.mktemp("installed"))


@pytest.fixture
def photo(tmp_path):
    path = tmp_path / "photo.jpg"
    path.write_bytes(image_bytes(golden_image()))
    return path
