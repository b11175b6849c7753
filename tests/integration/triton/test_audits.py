"""With a real Triton, an audit finds an altered file on Triton's machine; then OpenVINO answers."""

import shutil
import time

import pytest

from tests.audit_builders import build_faulty, scene
from tests.builders import build_artifact
from tests.integration.service.conftest import serve, wait_until_ready
from tests.triton_server import start_triton
from training.export.triton.config import TritonOptions, write_all_configs

MODEL = "tiny-openvino"
TOKEN = "correct horse battery"
BEARER = {"Authorization": f"Bearer {TOKEN}"}


@pytest.fixture
def repositories(tmp_path):
    """Return the gateway's repository, and Triton's copy, whose graph is not the one of its manifest."""
    good = build_artifact(tmp_path / "gateway")
    shutil.copytree(tmp_path / "gateway", tmp_path / "triton")
    faulty = build_faulty(tmp_path / "faulty")
    for file in ("model.xml", "model.bin"):
        shutil.copy(faulty.folder / file, tmp_path / "triton" / MODEL / "1" / file)
    assert (tmp_path / "triton" / MODEL / "1" / "manifest.json").read_bytes() == (
        good.folder / "manifest.json"
    ).read_bytes()
    write_all_configs(tmp_path / "triton", TritonOptions(), name="tiny")
    return good.repository, tmp_path / "triton"


def test_a_file_that_was_altered_on_triton_s_machine_is_found_and_openvino_serves(repositories):
    local, remote = repositories
    with (
        start_triton(remote, load=[MODEL]) as server,
        serve(
            repository=local,
            backends=("triton", "openvino"),
            triton={"url": server.grpc_url, "refresh_s": 0.3},
            audit={"share": 1},
            admin_token=TOKEN,
        ) as gateway,
    ):
        assert wait_until_ready(gateway).status_code == 200
        wait_for_triton(gateway)
        answered_by = []
        for number in range(200):
            answer = gateway.detect(scene("blue", number))
            assert answer.status_code == 200
            answered_by.append(answer.json()["model"]["backend"])
            if answered_by[-1] == "openvino":
                break
            time.sleep(0.05)
        assert answered_by[0] == "triton"
        assert answered_by[-1] == "openvino"
        report = {
            one["backend"]: one for one in gateway.client.get("/audits", headers=BEARER).json()["backends"]
        }
        assert report["triton"]["state"] == "quarantined"
        assert report["triton"]["reference"]["engine"] == "openvino"
        assert report["triton"]["reference"]["same_files"] is True  # as the manifest says
        assert gateway.client.get("/readyz").status_code == 200
        assert "version 1 on triton is in quarantine" in gateway.client.get("/readyz").json()["notes"][0]
        asked = gateway.detect(scene("blue", 0), backend="triton")
        assert asked.status_code == 503
        states = {
            one["backend"]: one["state"]
            for one in gateway.client.get("/models").json()["models"][0]["versions"]
        }
        assert states == {"triton": "quarantined", "openvino": "ready"}
        time.sleep(1.0)  # the reference's own answers are not audited, and Triton's index is read again
        assert gateway.detect(scene("blue", 1)).json()["model"]["backend"] == "openvino"
        after = gateway.client.get("/audits", headers=BEARER).json()["backends"]
        assert [one["backend"] for one in after] == ["triton"]


def wait_for_triton(gateway):
    for _ in range(400):
        listed = gateway.client.get("/models").json()["models"]
        if any(one["backend"] == "triton" and one["state"] == "ready" for one in listed[0]["versions"]):
            return
        time.sleep(0.05)
    raise TimeoutError(listed)
