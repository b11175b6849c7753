"""Audits of the starter with real photographs: a planted fault is found, and rounding is not a fault."""

import os
import shutil
import subprocess
import sys
import time
from pathlib import Path

import pytest

from tests.audit_builders import permute_expert, real_images

ROOT = Path(__file__).resolve().parents[3]
STARTER = ROOT / "model_repository" / "starter-openvino" / "1"
TOKEN = "correct horse battery"
BEARER = {"Authorization": f"Bearer {TOKEN}"}

pytestmark = pytest.mark.heavy


@pytest.fixture(scope="module")
def exact(tmp_path_factory):
    """Return a repository with the starter's export in f32 for ONNX Runtime."""
    repository = tmp_path_factory.mktemp("exact")
    flags = ["--name", "starter", "--target", "onnx", "--execution", "sparse", "--choose-on", "0", "--quiet"]
    command = [sys.executable, "-m", "training", "export", "starter", *flags, "--repository", str(repository)]
    subprocess.run(command, cwd=ROOT, env=os.environ | {"OMP_NUM_THREADS": "1"}, check=True, timeout=500)
    return repository


@pytest.fixture
def repository(exact, tmp_path):
    """Return a repository with the starter in 8 bits, which is served, and in f32, which is the reference."""
    shutil.copytree(exact / "starter-onnx", tmp_path / "starter-onnx")
    shutil.copytree(STARTER, tmp_path / "starter-openvino" / "1")
    return tmp_path


def audited(running):
    """Return the report of the only audited backend; None before its first audit."""
    backends = running.client.get("/audits", headers=BEARER).json()["backends"]
    return backends[0] if backends else None


def send(running, images):
    """Send images, and wait for the audit of each; return how many were answered before a refusal."""
    for number, image in enumerate(images):
        if running.detect(image).status_code == 503:
            return number
        end = time.monotonic() + 60
        while (report := audited(running)) is None or sum(report["outcomes"].values()) <= number:
            assert time.monotonic() < end, report
            time.sleep(0.01)
    return len(images)


@pytest.mark.parametrize(("layer", "expert"), [("backbone.p4", 0), ("neck.p3", 1)])
def test_a_permuted_expert_that_passes_its_golden_sample_is_found_within_200_requests(
    start, repository, layer, expert
):
    permute_expert(repository / "starter-openvino" / "1", layer, expert)
    running = start(repository=repository, audit={"share": 1}, admin_token=TOKEN)
    assert running.client.get("/readyz").status_code == 200  # the golden sample does not show the fault
    assert send(running, real_images(200)) < 200
    report = audited(running)
    assert report["state"] == "quarantined"
    assert (report["reference"]["precision"], report["reference"]["same_files"]) == ("f32", False)
    assert (layer, expert) in {(one["layer"], one["expert"]) for one in report["suspects"]}


def test_8_bits_beside_f32_are_no_fault_on_250_real_photographs(start, repository):
    running = start(repository=repository, audit={"share": 1}, admin_token=TOKEN)
    assert send(running, real_images(250)) == 250
    report = audited(running)
    assert report["state"] == "auditing"
    assert report["outcomes"]["skipped"] == report["outcomes"]["failed"] == 0
    assert report["disagreeing"] <= report["allowed_share"] * report["counted"]
    assert report["evidence"] < 100  # an alarm needs a million
