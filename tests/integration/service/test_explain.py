"""`explain=route` says which regions of an image moved the routers of the tiny models."""

import json
import threading
import time

import httpx
import numpy as np
import pytest

from service.explain import runner
from service.explain.attribution import plan
from service.explain.grid import Grid, Region
from tests.builders import build_artifact, build_classifier, image_bytes
from tests.integration.service.conftest import serve, wait_until_ready

GREY = 120


def patch(height, width, rows, cols, colour):
    """Return a grey image with a patch of a colour, as PNG."""
    pixels = np.full((height, width, 3), GREY, np.uint8)
    pixels[rows, cols] = colour
    return image_bytes(pixels)


RED_CORNER = patch(64, 64, slice(0, 32), slice(0, 32), (255, 0, 0))


@pytest.fixture(scope="module")
def repository(tmp_path_factory):
    root = tmp_path_factory.mktemp("explained")
    build_artifact(root)
    build_artifact(root, name="static", changes={"routing": "static"})
    build_classifier(root)
    build_classifier(root, name="plain", experts=False)
    return root


@pytest.fixture(scope="module")
def running(repository):
    with serve(repository=repository, default_model="tiny", explain=True) as served:
        assert wait_until_ready(served).status_code == 200
        yield served


def explained(served, data, **query):
    answer = served.detect(data, explain="route", **query)
    assert answer.status_code == 200, answer.text
    return answer.json()


def refusal(answer, status=422):
    assert answer.status_code == status, answer.text
    return answer.json()["detail"]


def test_the_cells_of_the_patch_have_the_largest_effects(running):
    answer = explained(running, RED_CORNER)
    explanation = answer["explanation"]
    first = explanation["layers"][0]
    assert (explanation["rows"], explanation["cols"]) == (8, 8)
    assert (explanation["x"], explanation["y"], explanation["width"], explanation["height"]) == (0, 0, 64, 64)
    assert (first["layer"], first["expert"]) == ("backbone.p4", 0)
    effects = np.array(first["effects"])
    inside = np.zeros((8, 8), bool)
    inside[:4, :4] = True
    assert effects[inside].min() > 0.02 > effects[~inside].max()


def test_the_falls_show_that_the_map_is_right(running):
    first = explained(running, RED_CORNER)["explanation"]["layers"][0]
    assert first["marked_fall"] > 0.5
    assert first["marked_fall"] > first["random_fall"] + 0.5


def test_the_grid_lies_over_the_image_and_not_over_the_padding(running):
    wide = patch(50, 100, slice(0, 50), slice(75, 100), (0, 0, 255))
    explanation = explained(running, wide)["explanation"]
    assert (explanation["rows"], explanation["cols"]) == (4, 8)
    assert (explanation["x"], explanation["y"], explanation["width"], explanation["height"]) == (
        0,
        0,
        100,
        50,
    )
    effects = np.array(explanation["layers"][0]["effects"])
    assert explanation["layers"][0]["expert"] == 2
    assert effects[:, 6:].min() > effects[:, :6].max()


def test_a_classifier_is_explained_in_the_middle_that_it_sees(running):
    wide = patch(50, 100, slice(0, 50), slice(60, 75), (0, 255, 0))
    explanation = explained(running, wide, model="colours")["explanation"]
    assert (explanation["x"], explanation["y"], explanation["width"], explanation["height"]) == (
        25,
        0,
        50,
        50,
    )


def test_the_same_image_gets_the_same_explanation(running):
    one, two = (explained(running, RED_CORNER)["explanation"] for _ in range(2))
    assert one["layers"] == two["layers"]
    assert one["runs"] == two["runs"] == 1 + len(plan(Grid(Region(0, 0, 64, 64), 8, 8))) + 2 + 4


def test_the_rest_of_the_answer_is_the_same_as_without_an_explanation(running):
    plain, answer = running.detect(RED_CORNER).json(), explained(running, RED_CORNER)
    assert "explanation" not in plain
    assert answer["predictions"] == plain["predictions"]
    assert answer["moe"] == plain["moe"]
    assert answer["timing_ms"]["total"] > answer["explanation"]["ms"] > 0


def test_an_explanation_counts_as_one_image_in_the_metrics_of_the_experts(running):
    name = 'sparsight_expert_activations_total{expert="0",layer="backbone.p4",model="tiny",version="1"}'
    before = running.metrics()[name]
    explained(running, RED_CORNER)
    assert running.metrics()[name] == before + 1


def test_an_explanation_uses_the_experts_that_the_request_asks_for(running):
    assert explained(running, RED_CORNER, top_k=1)["moe"]["top_k"] == 1


@pytest.mark.parametrize(
    ("query", "why"),
    [
        pytest.param({"model": "plain"}, "no mixture layers", id="a model without experts"),
        pytest.param({"model": "static"}, "the same experts for every image", id="static routing"),
        pytest.param({"format": "coco"}, "use format=json", id="another format"),
        pytest.param({"format": "jpeg"}, "use format=json", id="a drawing"),
        pytest.param({"several": "true"}, "explains one image", id="a list"),
        pytest.param({"explain": "boxes"}, "one of off, route", id="an unknown explanation"),
    ],
)
def test_what_cannot_be_explained_is_refused_with_the_reason(running, query, why):
    answer = running.client.post("/detect", params={"explain": "route"} | query, content=RED_CORNER)
    assert why in refusal(answer)
    assert answer.json()["errors"][0]["parameter"] == "explain"


def test_a_batch_and_a_form_with_two_files_are_refused(running):
    two = [("a", ("a.png", RED_CORNER)), ("b", ("b.png", RED_CORNER))]
    for path in ("/detect", "/detect/batch"):
        answer = running.client.post(path, params={"explain": "route"}, files=two)
        assert "send one file to /detect" in refusal(answer)


def test_a_form_with_one_file_is_explained(running):
    answer = running.client.post("/detect", params={"explain": "route"}, files={"a": ("a.png", RED_CORNER)})
    assert answer.json()["explanation"]["layers"][0]["expert"] == 0


def test_explain_off_is_the_default(running):
    assert "explanation" not in running.detect(RED_CORNER, explain="off").json()


def test_a_caller_without_enough_time_is_told_how_much_an_explanation_needs(running, monkeypatch):
    monkeypatch.setattr(runner, "_USABLE", 1e-6)
    answer = running.detect(RED_CORNER, explain="route")
    assert "allow more time with timeout_ms" in refusal(answer, 504)
    assert answer.json()["type"].endswith(":explanation-too-slow")


def test_another_request_can_be_explained_after_one_that_failed(running, monkeypatch):
    with monkeypatch.context() as patched:
        patched.setattr(runner, "_USABLE", 1e-6)
        refusal(running.detect(RED_CORNER, explain="route"), 504)
    explained(running, RED_CORNER)


def test_one_request_is_explained_at_a_time(running, monkeypatch):
    begun, go_on = threading.Event(), threading.Event()
    prepare = runner._Hide.prepare

    def wait_and_prepare(job):
        begun.set()
        go_on.wait(10)
        return prepare(job)

    monkeypatch.setattr(runner._Hide, "prepare", wait_and_prepare)
    answers = []
    first = threading.Thread(target=lambda: answers.append(running.detect(RED_CORNER, explain="route")))
    first.start()
    assert begun.wait(10)
    second = running.detect(RED_CORNER, explain="route")
    plain = running.detect(RED_CORNER)
    go_on.set()
    first.join()
    assert "another request is being explained" in refusal(second, 429)
    assert int(second.headers["Retry-After"]) >= 1
    assert plain.status_code == answers[0].status_code == 200


def test_explanations_are_off_unless_the_operator_allows_them(repository):
    with serve(repository=repository, default_model="tiny") as served:
        assert wait_until_ready(served).status_code == 200
        assert "SPARSIGHT_EXPLAIN=true" in refusal(served.detect(RED_CORNER, explain="route"))
        assert served.detect(RED_CORNER).status_code == 200


def test_top_k_0_is_refused_because_no_expert_is_chosen(repository, tmp_path):
    controls = json.loads((repository / "tiny-openvino/1/manifest.json").read_text())["inputs"]
    for row in controls:
        if row["name"] == "top_k":
            row["allowed"] = [0, *row["allowed"]]
    build_artifact(tmp_path, changes={"inputs": controls})
    with serve(repository=tmp_path, default_model="tiny", explain=True) as served:
        assert wait_until_ready(served).status_code == 200
        assert "with top_k=0 no expert is chosen" in refusal(
            served.detect(RED_CORNER, explain="route", top_k=0)
        )


def test_a_caller_who_leaves_ends_the_explanation(running, monkeypatch):
    runs, prepare = [], runner._Hide.prepare

    def slow_prepare(job):
        runs.append(1)
        time.sleep(0.05)
        return prepare(job)

    with monkeypatch.context() as patched:
        patched.setattr(runner._Hide, "prepare", slow_prepare)
        with pytest.raises(httpx.ReadTimeout):
            running.client.post("/detect", params={"explain": "route"}, content=RED_CORNER, timeout=0.5)
        end = time.monotonic() + 10
        while (answer := running.detect(RED_CORNER, explain="route", timeout_ms=1)).status_code == 429:
            assert time.monotonic() < end
            time.sleep(0.05)
        assert answer.status_code == 504
        assert len(runs) < 80
    explained(running, RED_CORNER)
