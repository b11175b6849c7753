"""The exporter's baseline of routing, and a service that compares its images with it."""

import json
import re

import numpy as np
import pytest

from service.artifact.repository import read_artifact
from service.artifact.routing_file import read_routing
from service.errors import ArtifactBroken
from service.routing import reference
from tests.builders import build_artifact, build_classifier, image_bytes
from tests.integration.service.conftest import serve, wait_until_ready
from tests.path_artifacts import BLUE, GREEN, RED, SHARE, build_paths, gates_of
from training.errors import CheckpointError, ConfigError
from training.workflows.baseline import LEAST_IMAGES, UnlabelledImages, measure_baseline

TOKEN = "administrator-of-tests"
WARM = ((200, 40, 30), (60, 190, 50))  # red and green; no blue


def colours(rng, count):
    """Return images of one colour each, encoded: red or green, with some variation."""
    tints = np.array(WARM)[rng.integers(2, size=count)] + rng.normal(0, 12, (count, 3))
    return [np.full((64, 64, 3), np.clip(tint, 0, 255), np.uint8) for tint in tints]


def measured_artifact(folder, count=200):
    """Build a tiny artifact with a baseline of `count` red and green images."""
    rng = np.random.default_rng(0)
    images = folder / "images"
    images.mkdir()
    for place, image in enumerate(colours(rng, count)):
        (images / f"{place:03}.png").write_bytes(image_bytes(image))
    tiny = build_artifact(folder / "repository")
    measure_baseline(tiny.folder, ("colours", UnlabelledImages(images)), None, count)
    return tiny


@pytest.fixture(scope="module")
def tiny(tmp_path_factory):
    return measured_artifact(tmp_path_factory.mktemp("measured"))


@pytest.fixture
def client(tiny):
    with serve(repository=tiny.repository, admin_token=TOKEN) as served:
        wait_until_ready(served)
        yield served.client


def ask(client, images, **params):
    """Detect in every image; return the last answer's `moe`, with its warnings."""
    for image in images:
        answer = client.post("/detect", content=image_bytes(image), params=params)
        assert answer.status_code == 200, answer.text
    return answer.json()["moe"] | {"warnings": answer.json()["warnings"]}


def until_watched(client, images):
    """Answer images until the baseline has been read."""
    while True:
        ask(client, images[:1])
        (version,) = client.get("/routing").json()["versions"]
        if not version["not_compared"]:
            return


def swapped(images):
    return [np.ascontiguousarray(image[..., ::-1]) for image in images]


# ---- the file ------------------------------------------------------------------------------------------


def test_the_service_reads_what_the_exporter_measured(tiny):
    artifact = read_artifact(tiny.folder)
    default, *others = read_routing(artifact.folder, artifact.manifest)
    assert default.controls == {"top_k": 2, "weight_threshold": 0.0}
    assert [each.controls["top_k"] for each in others] == [1, 3, 4]
    assert default.log_probs.shape == (200, 2, 4)
    red, green = (np.isclose(default.log_probs[:, 0].argmax(axis=1), each) for each in (0, 1))
    assert (red | green).all()
    assert all(bin(chosen).count("1") == 2 for chosen in default.sets[:, 0].tolist())


def test_an_artifact_without_a_baseline_has_no_routing_file(tmp_path):
    artifact = read_artifact(build_artifact(tmp_path).folder)
    assert read_routing(artifact.folder, artifact.manifest) == ()


def test_a_second_measurement_replaces_the_first_one(tmp_path):
    tiny = measured_artifact(tmp_path, 120)
    first = read_artifact(tiny.folder)
    images = ("colours", UnlabelledImages(tmp_path / "images"))
    measure_baseline(tiny.folder, images, None, 110)
    second = read_artifact(tiny.folder)
    assert second.sha256 != first.sha256
    assert second.manifest.baseline.routing.images == 110
    assert [path.suffix for path in tiny.folder.iterdir()].count(".npz") == 2  # golden.npz and this one
    measure_baseline(tiny.folder, images, None, 120)
    assert read_artifact(tiny.folder).manifest.baseline.routing.images == 120


@pytest.mark.parametrize("target", ["openvino", "onnx"])
def test_an_artifact_with_paths_gets_another_baseline_and_is_served_with_it(tmp_path, target):
    built = build_paths(tmp_path / "repository", target=target)
    images = tmp_path / "images"
    images.mkdir()
    for place in range(LEAST_IMAGES):  # by turns on the paths 0, 1 and 2
        (images / f"{place:03}.png").write_bytes(image_bytes((RED, GREEN, BLUE)[place % 3]))
    measure_baseline(built.folder, ("colours", UnlabelledImages(images)), None, LEAST_IMAGES)
    artifact = read_artifact(built.folder)
    assert artifact.manifest.paths.share == SHARE, "of the images of the export, as the shares of experts"
    found = read_routing(built.folder, artifact.manifest)
    assert [each.controls for each in found] == [{"top_k": 2}, {"top_k": 1}]
    for each in found:
        bits = (gates_of(path, each.controls["top_k"]) > 0 for path in range(3))
        sets = [(row * (1 << np.arange(4))).sum(axis=1).tolist() for row in bits]
        assert each.sets[:6].tolist() == [*sets, *sets]
    with serve(repository=tmp_path / "repository", backends=[target]) as served:
        wait_until_ready(served)
        assert ask(served.client, [GREEN], top_k=1)["path"]["index"] == 1


def test_a_baseline_that_shows_no_drift_is_refused_and_the_old_one_stays(tmp_path):
    tiny = measured_artifact(tmp_path, LEAST_IMAGES)
    first = read_artifact(tiny.folder)
    images = ("colours", UnlabelledImages(tmp_path / "images"))
    with pytest.raises(ConfigError, match="at least 100 images to show a drift, and these are 99"):
        measure_baseline(tiny.folder, images, None, LEAST_IMAGES - 1)
    assert read_artifact(tiny.folder).sha256 == first.sha256


def test_the_exporter_and_the_service_agree_on_the_smallest_baseline():
    assert LEAST_IMAGES == reference.LEAST_IMAGES


def test_the_folder_above_a_version_is_not_an_artifact(tiny):
    with pytest.raises(CheckpointError, match="name the folder of one version"):
        measure_baseline(tiny.folder.parent, ("none", []), None, LEAST_IMAGES)


def test_an_altered_routing_file_is_refused(tmp_path):
    tiny = measured_artifact(tmp_path, 120)
    artifact = read_artifact(tiny.folder)
    path = tiny.folder / artifact.manifest.baseline.routing.file
    path.write_bytes(path.read_bytes()[:-1])
    with pytest.raises(ArtifactBroken, match="copy the model again"):
        read_artifact(tiny.folder)
    with pytest.raises(ArtifactBroken, match="copy the model again"):
        read_routing(artifact.folder, artifact.manifest)


def test_a_model_without_experts_has_no_routing_to_measure(tmp_path):
    plain = build_classifier(tmp_path, experts=False)
    with pytest.raises(ConfigError, match="no mixture layer"):
        measure_baseline(plain.folder, ("none", []), None, 10)


# ---- the service ---------------------------------------------------------------------------------------


def test_swapped_channels_are_noticed_and_said_in_answers(client):
    usual = colours(np.random.default_rng(1), 300)
    until_watched(client, usual)
    before = ask(client, usual)
    assert before["routing"] == "normal"
    assert "drift" not in before
    after = ask(client, swapped(usual))
    assert after["routing"] == "drifting"
    assert after["drift"]["layer"] in {"backbone.p4", "backbone.p5", "path"}
    assert after["drift"]["since"]
    assert any("drifting" in warning for warning in after["warnings"])
    metrics = client.get("/metrics").text
    assert 'sparsight_routing_drifting{backend="openvino",model="tiny",version="1"} 1.0' in metrics
    (version,) = client.get("/routing").json()["versions"]
    assert version["state"] == "drifting"
    assert [event["state"] for event in version["events"]] == ["drifting"]
    assert ask(client, usual[:1])["routing"] == "drifting"


def test_an_administrator_resets_the_routing(client):
    usual = colours(np.random.default_rng(1), 200)
    until_watched(client, usual)
    assert ask(client, swapped(usual))["routing"] == "drifting"
    assert re.search("^sparsight_routing_drift_bits", client.get("/metrics").text, re.MULTILINE)
    assert client.post("/routing/reset").status_code == 401
    assert client.post("/routing/reset", headers={"Authorization": f"Bearer {TOKEN}"}).status_code == 204
    assert client.get("/routing").json() == {"versions": []}
    assert ask(client, usual[:1])["routing"] == "normal"
    metrics = client.get("/metrics").text
    assert 'sparsight_routing_drifting{backend="openvino",model="tiny",version="1"} 0.0' in metrics
    assert not re.search("^sparsight_(routing_drift_|routing_novelty|expert_share)", metrics, re.MULTILINE)


def test_other_experts_on_request_are_compared_with_their_own_baseline(client):
    usual = colours(np.random.default_rng(2), 300)
    until_watched(client, usual)
    for top_k in (1, 4, 1, 4):
        assert ask(client, usual[:150], top_k=top_k)["routing"] == "normal"
    (version,) = client.get("/routing").json()["versions"]
    assert {setting["controls"]["top_k"] for setting in version["settings"]} >= {1, 4}


def test_a_threshold_without_a_baseline_is_counted_and_not_compared(client):
    usual = colours(np.random.default_rng(2), 150)
    until_watched(client, usual)
    assert ask(client, swapped(usual), weight_threshold=0.4)["routing"] == "normal"
    (version,) = client.get("/routing").json()["versions"]
    assert version["unjudged"] >= 150


def test_lines_for_a_table_have_one_layer_each(client):
    usual = colours(np.random.default_rng(2), 30)
    until_watched(client, usual)
    ask(client, usual)
    answer = client.get("/routing", params={"format": "jsonl"})
    assert answer.headers["content-type"].startswith("application/jsonl")
    lines = [json.loads(line) for line in answer.text.splitlines()]
    assert [line["layer"] for line in lines] == ["backbone.p4", "backbone.p5", "path"]
    assert {line["model"] for line in lines} == {"tiny"}
    experts = lines[0]["experts"]
    assert sum(each["share"] for each in experts) == pytest.approx(2.0)
    assert sum(each["baseline_share"] for each in experts) == pytest.approx(2.0)
    together = np.array(lines[0]["together"])
    assert np.diag(together) == pytest.approx([each["share"] for each in experts])


def test_an_artifact_without_a_baseline_is_served_and_says_why_nothing_is_compared(tmp_path):
    tiny = build_artifact(tmp_path)
    with serve(repository=tiny.repository) as served:
        wait_until_ready(served)
        why = ""
        while "python -m training baseline" not in why:
            assert ask(served.client, colours(np.random.default_rng(0), 1))["routing"] == "normal"
            (version,) = served.client.get("/routing").json()["versions"]
            why = version["not_compared"]
        assert version["judged"] == 0 < version["unjudged"]


def test_an_alarm_of_a_setting_that_nobody_uses_any_more_is_forgotten(client, monkeypatch):
    monkeypatch.setattr("service.routing.monitor._FORGOTTEN_AFTER", 100)
    usual = colours(np.random.default_rng(3), 200)
    until_watched(client, usual)
    assert ask(client, swapped(usual), top_k=4)["routing"] == "drifting"
    assert ask(client, usual[:150])["routing"] == "normal"
