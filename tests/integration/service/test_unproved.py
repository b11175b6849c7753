"""A model exported with --unproved is served only if the settings allow it; others serve meanwhile."""

import logging

from tests.builders import build_artifact, golden_image, image_bytes

RED = image_bytes(golden_image())
WHY = (
    "early-openvino version 1 was exported with --unproved, so nothing proves that it works: train it longer"
)


def test_an_unproved_model_is_not_served_and_the_reason_is_said(start, tmp_path, caplog):
    build_artifact(tmp_path, name="good")
    build_artifact(tmp_path, name="early", changes={"proved": False})
    with caplog.at_level(logging.ERROR):
        running = start(repository=tmp_path, default_model="good")
    (refused,) = [record for record in caplog.records if record.message == "model_broken"]
    assert refused.model == "early"
    assert WHY in refused.why
    assert running.detect(RED).json()["model"]["name"] == "good"
    answer = running.detect(RED, model="early")
    assert answer.status_code in (404, 503)
    assert WHY in answer.json()["detail"]


def test_if_the_settings_allow_it_an_unproved_model_serves(start, tmp_path):
    build_artifact(tmp_path, name="early", changes={"proved": False})
    running = start(repository=tmp_path, serve_unproved=True)
    assert running.detect(RED, model="early").json()["model"]["name"] == "early"


def test_a_default_model_that_is_not_proved_is_said_at_the_start(start, tmp_path):
    build_artifact(tmp_path, name="good")
    build_artifact(tmp_path, name="early", changes={"proved": False})
    running = start(repository=tmp_path, default_model="early")
    why = running.client.get("/readyz").json()["detail"]
    assert f"the default model 'early' cannot be served: {WHY}" in why
    assert "set SPARSIGHT_SERVE_UNPROVED=true" in why
