"""A model exported with --unproved is served only if the settings allow it; others serve meanwhile."""

import logging

import pytest

from tests.builders import build_artifact, golden_image, image_bytes

RED = image_bytes(golden_image())

WHY = "was exported with --unproved, so nothing proves that it works"


@pytest.fixture
def mixed(tmp_path):
    """One proved model; one of which only version 1 is proved; and one that is not proved at all."""
    build_artifact(tmp_path, name="good")
    build_artifact(tmp_path, name="newer")
    build_artifact(tmp_path, name="newer", version="2", changes={"proved": False})
    build_artifact(tmp_path, name="early", changes={"proved": False})
    return tmp_path


def states(running):
    """Return (version, state, why) of every version, by model."""
    models = running.client.get("/models").json()["models"]
    return {
        each["name"]: [(one["version"], one["state"], one["why"]) for one in each["versions"]]
        for each in models
    }


def test_an_unproved_version_is_refused_with_the_reason_and_the_others_serve(start, mixed, caplog):
    with caplog.at_level(logging.WARNING):
        running = start(repository=mixed)
    found = states(running)
    assert found["good"] == [("1", "ready", "")]
    ((version, state, why),) = found["early"]
    assert (version, state) == ("1", "refused")
    assert f"early-openvino version 1 {WHY}: train it longer" in why
    assert [one[:2] for one in found["newer"]] == [("1", "ready"), ("2", "refused")]
    refused = [record.model for record in caplog.records if record.message == "model_refused"]
    assert sorted(refused) == ["early", "newer"]

    assert running.detect(RED).json()["model"]["name"] == "good", "the first that is served, not early"
    assert running.detect(RED, model="newer").json()["model"]["version"] == "1"
    answer = running.detect(RED, model="early")
    assert answer.status_code == 503
    assert "set SPARSIGHT_SERVE_UNPROVED=true" in answer.json()["detail"]


def test_if_the_settings_allow_it_the_highest_version_serves_proved_or_not(start, mixed):
    running = start(repository=mixed, serve_unproved=True)
    assert {name: [one[:2] for one in each] for name, each in states(running).items()} == {
        "early": [("1", "ready")],
        "good": [("1", "ready")],
        "newer": [("2", "ready")],
    }
    assert running.detect(RED, model="early").status_code == 200


@pytest.mark.parametrize("settings", [{"default_model": "early"}, {}], ids=["named", "the only model"])
def test_a_default_model_that_is_not_proved_is_said_at_the_start(start, tmp_path, settings):
    build_artifact(tmp_path, name="early", changes={"proved": False})
    running = start(repository=tmp_path, **settings)
    why = running.client.get("/readyz").json()["detail"]
    assert f"the default model 'early' cannot be served: early-openvino version 1 {WHY}" in why
