"""A real tritonserver with a copy of the project's model repository, and real photographs."""

import os
import shutil
from pathlib import Path

import pytest
from filelock import FileLock

from tests.training_builders import plain_model
from tests.triton_server import ROOT, start_triton, why_no_triton
from training.export.artifact.bundle import export_model
from training.export.artifact.manifest import Provenance
from training.export.targets.build import ExportImages
from training.workflows.export import scene_images


@pytest.fixture(scope="session", autouse=True)
def _triton_or_skip():
    if reason := why_no_triton():
        pytest.skip(reason)


@pytest.fixture(scope="session")
def project_repository(tmp_path_factory):
    """Return a copy of the project's models, plus an untrained ONNX model that returns all anchors."""
    folder = tmp_path_factory.mktemp("triton") / "model_repository"
    shutil.copytree(ROOT / "model_repository", folder, ignore=shutil.ignore_patterns(".staging-*"))
    shutil.copytree(_twin(tmp_path_factory), folder, dirs_exist_ok=True)
    return folder


def _twin(tmp_path_factory):
    """Return a repository with one export, which the first test process makes for all processes."""
    of_all = tmp_path_factory.getbasetemp()
    if "PYTEST_XDIST_WORKER" in os.environ:
        of_all = of_all.parent
    repository = of_all / "twin"
    with FileLock(repository.with_suffix(".lock")):
        if not repository.exists():
            scenes = scene_images()
            export_model(
                plain_model(),
                repository,
                "twin",
                ExportImages(scenes, scenes),
                targets=["npu"],
                provenance=Provenance(checkpoint_sha256="0" * 64),
            )
    return repository


@pytest.fixture(scope="session")
def triton(project_repository):
    """Return a server with every model of the project, for tests that do not change the server."""
    with start_triton(project_repository) as server:
        yield server


@pytest.fixture(scope="session")
def real_images():
    """Return six encoded images of blood smears from the BCCD validation split."""
    root = os.environ.get("SPARSIGHT_DATA")
    if not root:
        pytest.skip("SPARSIGHT_DATA is not set: it names the folder with the real photographs")
    names = (Path(root) / "bccd" / "ImageSets" / "Main" / "val.txt").read_text().split()[::15]
    return [(Path(root) / "bccd" / "JPEGImages" / f"{name}.jpg").read_bytes() for name in names[:6]]
