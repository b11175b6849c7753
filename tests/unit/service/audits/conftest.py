"""Repositories that the tests of the auditor serve."""

import pytest

from tests.audit_builders import build_faulty
from tests.builders import build_artifact


@pytest.fixture
def faulty(tmp_path):
    """Return a repository that serves version 2, whose blue expert is wrong; version 1 is the reference."""
    build_artifact(tmp_path)
    build_faulty(tmp_path, version="2")
    return tmp_path


@pytest.fixture
def sound(tmp_path):
    build_artifact(tmp_path)
    return tmp_path
