"""When a version is no longer served, the service forgets the routing of its images."""

import shutil
import time

import pytest

from tests.watched_artifacts import build_watched, common_file, novel_file

BEARER = {"Authorization": f"Bearer {'t' * 16}"}


@pytest.fixture
def served(start, tmp_path):
    build_watched(tmp_path, version="1")
    return start(repository=tmp_path, admin_token="t" * 16)


def versions(served):
    return served.client.get("/routing").json()["versions"]


def make_drift(served):
    """Send images that are routed unlike the baseline until the service says so."""
    for _ in range(200):
        served.detect(common_file())
        if versions(served)[0]["judged"]:
            break
        time.sleep(0.02)
    for _ in range(150):
        served.detect(novel_file())
    assert versions(served)[0]["state"] == "drifting"


def of_version(served, version):
    """Return the series about drift and experts of a version, without the counters."""
    return {
        name: value
        for name, value in served.metrics().items()
        if f'version="{version}"' in name
        and name.startswith(("sparsight_routing_", "sparsight_expert_", "sparsight_router_"))
        and "_total{" not in name
        and "backend=" in name
    }


def test_a_version_that_is_gone_drifts_no_more_and_takes_no_memory(served, tmp_path):
    make_drift(served)
    assert (
        of_version(served, "1")['sparsight_routing_drifting{backend="openvino",model="tiny",version="1"}']
        == 1
    )
    for version in ("2", "3"):
        build_watched(tmp_path, version=version)
        assert served.client.post("/models/reload", headers=BEARER).status_code == 200
        assert served.detect(common_file()).json()["moe"]["routing"] == "normal"
    assert [one["version"] for one in versions(served)] == ["3"]
    assert of_version(served, "1") == of_version(served, "2") == {}


def test_a_reload_that_changes_nothing_keeps_the_drift(served, tmp_path):
    make_drift(served)
    assert served.client.post("/models/reload", headers=BEARER).status_code == 200
    (one,) = versions(served)
    assert one["state"] == "drifting"
    shutil.rmtree(tmp_path / "tiny-openvino")  # the default model is served until the end
    assert served.client.post("/models/reload", headers=BEARER).status_code == 409
    assert versions(served)[0]["state"] == "drifting"


def test_a_reset_leaves_no_figure_of_the_images_before(served):
    make_drift(served)
    assert served.client.post("/routing/reset", headers=BEARER).status_code == 204
    (name,) = of_version(served, "1")
    assert name.startswith("sparsight_routing_drifting")
    assert of_version(served, "1")[name] == 0


def test_the_last_images_of_a_quiet_service_are_in_every_figure(served):
    chosen = 0

    def send(file):
        nonlocal chosen
        chosen += sum(len(layer["active"]) for layer in served.detect(file).json()["moe"]["layers"])

    sent = 0
    while not sent or not versions(served)[0]["judged"]:  # until the baseline has been read
        send(common_file())
        sent += 1
    of_version = '{backend="openvino",model="tiny",version="1"}'
    for count in (2, 3, 4):
        send(novel_file())
        sent += 1
        (one,) = versions(served)
        (setting,) = one["settings"]
        assert (one["judged"], setting["images"]) == (count, count)
        assert setting["novelty"] >= (count - 1) / count  # the rank of a novel image is 1
        found = served.metrics()
        assert found[f"sparsight_routing_judged_images_total{of_version}"] == count
        assert found[f"sparsight_image_duration_seconds_count{of_version}"] == sent
        assert sum(found[name] for name in found if "expert_activations_total" in name) == chosen
