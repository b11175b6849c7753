"""A real tritonserver over a copy of the project's model repository, and real photographs."""

import os
import shutil
from pathlib import Path

import pytest

from tests.triton_server import ROOT, start_triton, why_no_triton


@pytest.fixture(scope="session", autouse=True)
def _triton_or_skip():
    if reason := why_no_triton():
        pytest.skip(reason)


@pytest.fixture(scope="session")
def project_repository(tmp_path_factory):
    """A copy of what production loads."""
    folder = tmp_path_factory.mktemp("triton") / "model_repository"
    shutil.copytree(ROOT / "model_repository", folder, ignore=shutil.ignore_patterns(".staging-*"))
    return folder


@pytest.fixture(scope="session")
def triton(project_repository):
    """A server with every model of the project; for tests that only read."""
    with start_triton(project_repository) as server:
        yield server


@pytest.fixture(scope="session")
def real_images():
    """Six smears of the BCCD validation split, as files."""
    root = os.environ.get("SPARSIGHT_DATA")
    if not root:
        pytest.skip("SPARSIGHT_DATA is not set: it names the folder with the real photographs")
    names = (Path(root) / "bccd" / "ImageSets" / "Main" / "val.txt").read_text().split()[::15]
    return [(Path(root) / "bccd" / "JPEGImages" / f"{name}.jpg").read_bytes() for name in names[:6]]
