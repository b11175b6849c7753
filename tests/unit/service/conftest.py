"""Tiny artifacts that all unit tests of the service share; tests that change an artifact build their own."""

import asyncio

import pytest

from service.artifact.repository import read_artifact
from service.backends.openvino import OpenVinoBackend
from service.settings import OpenVinoSettings
from tests.builders import build_artifact, build_classifier


@pytest.fixture(scope="session")
def tiny(tmp_path_factory):
    return build_artifact(tmp_path_factory.mktemp("repository"))


@pytest.fixture(scope="session")
def artifact(tiny):
    return read_artifact(tiny.folder)


@pytest.fixture(scope="session")
def classifier(tmp_path_factory):
    return read_artifact(build_classifier(tmp_path_factory.mktemp("repository")).folder)


@pytest.fixture(scope="session")
def backend(artifact):
    backend = OpenVinoBackend(artifact, OpenVinoSettings(), workers=2)
    yield backend
    asyncio.run(backend.close())
