"""POST /detect over a real connection: answers, and all forms of a request."""

from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
from PIL import Image

from tests.builders import build_artifact, golden_image, image_bytes

RED = image_bytes(golden_image())
GREEN = image_bytes(np.full((64, 64, 3), (30, 200, 30), np.uint8))


def without_times(answer):
    return {key: value for key, value in answer.items() if key not in {"id", "timing_ms"}}


def test_an_answer_holds_everything_a_caller_needs(served):
    answer = served.detect(RED).json()
    assert set(answer) == {"id", "model", "image", "predictions", "moe", "timing_ms", "warnings"}
    assert answer["model"].items() >= {"name": "tiny", "version": "1", "backend": "openvino"}.items()
    assert answer["model"]["backend_reason"] == "preferred"
    assert answer["image"] == {"width": 64, "height": 64}
    (found,) = answer["predictions"]
    assert found.pop("confidence") == pytest.approx(0.751626, abs=1e-4)
    assert found == {"x": 20, "y": 20, "width": 32, "height": 32, "class": "red", "class_id": 0}
    assert set(answer["timing_ms"]) == {"decode", "queue", "preprocess", "infer", "postprocess", "total"}
    assert answer["warnings"] == []


def test_an_answer_tells_what_the_experts_did(served):
    moe = served.detect(RED).json()["moe"]
    first, second = moe["layers"]
    assert (first["layer"], first["experts"], first["active"]) == ("backbone.p4", 4, [0, 3])
    assert first["weights"] == pytest.approx([0.833325, 0.166675], abs=1e-4)
    assert (second["layer"], second["experts"], second["active"]) == ("backbone.p5", 3, [1, 2])
    assert moe["gflops"] == pytest.approx({"used": 4.0 + 0.5 + 1.0 + 0.2 + 0.3, "dense": 6.6})
    assert (moe["top_k"], moe["degraded"], moe["routing"]) == (2, False, "normal")


def test_another_image_goes_to_other_experts(served):
    first = served.detect(GREEN).json()
    assert first["predictions"][0]["class"] == "green"
    assert first["moe"]["layers"][0]["active"] == [1, 3]


@pytest.mark.parametrize("top_k", [1, 2, 3, 4])
def test_top_k_experts_run_and_their_weights_sum_to_one(served, top_k):
    moe = served.detect(RED, top_k=top_k).json()["moe"]
    assert moe["top_k"] == top_k
    for layer in moe["layers"]:
        assert len(layer["active"]) == min(top_k, layer["experts"])
        assert sum(layer["weights"]) == pytest.approx(1, abs=1e-5)


def test_full_tells_every_probability_and_off_tells_nothing(served):
    full = served.detect(RED, moe="full").json()["moe"]["layers"][0]
    assert sum(full["probabilities"]) == pytest.approx(1, abs=1e-5)
    assert "probabilities" not in served.detect(RED).json()["moe"]["layers"][0]
    assert "moe" not in served.detect(RED, moe="off").json()


def test_a_class_filter_and_a_limit_are_applied(served):
    assert served.detect(RED, classes="blue,green").json()["predictions"] == []
    everything = served.detect(RED, conf=0, iou=1).json()["predictions"]
    assert [one["class"] for one in everything] == ["red", "red", "green", "blue"]
    assert len(served.detect(RED, conf=0, iou=1, max_det=2).json()["predictions"]) == 2


@pytest.mark.parametrize(
    "content_type",
    ["image/png", "application/octet-stream", "application/x-www-form-urlencoded", "text/plain", None],
)
def test_a_raw_body_is_an_image_whatever_it_is_called(served, content_type):
    headers = {"Content-Type": content_type} if content_type else {}
    answer = served.client.post("/v1/detect", content=RED, headers=headers)
    assert answer.status_code == 200
    assert without_times(answer.json()) == without_times(served.detect(RED).json())


def test_a_form_with_one_file_is_answered_like_a_raw_body(served):
    answer = served.client.post("/detect", files={"anything": ("a.png", RED)}).json()
    assert answer.pop("file") == "a.png"
    assert without_times(answer) == without_times(served.detect(RED).json())


def test_a_form_with_several_files_is_answered_in_order_each_with_an_answer_or_a_problem(served):
    files = [("image", ("1", RED)), ("image", ("2", b"no image")), ("image", ("3", GREEN)), ("b", ("4", b""))]
    answer = served.client.post("/detect", files=files)
    red, wrong, green, empty = answer.json()["results"]
    assert answer.status_code == 200
    assert red["predictions"][0]["class"] == "red"
    assert (wrong["status"], wrong["type"]) == (415, "urn:sparsight:problem:unsupported-image")
    assert green["predictions"][0]["class"] == "green"
    assert empty["type"] == "urn:sparsight:problem:empty-image"
    assert len({one["id"] for one in (red, wrong, green, empty)}) == 4


def test_all_eight_exif_orientations_give_the_same_boxes(served):
    upright = np.full((40, 80, 3), (200, 60, 60), np.uint8)
    upright[:20, :40] = (250, 90, 20)
    turned = {2: "FLIP_LEFT_RIGHT", 3: "ROTATE_180", 4: "FLIP_TOP_BOTTOM", 5: "TRANSPOSE"}
    turned |= {6: "ROTATE_90", 7: "TRANSVERSE", 8: "ROTATE_270"}
    wanted = served.detect(image_bytes(upright)).json()
    for orientation, turn in turned.items():
        exif = Image.Exif()
        exif[0x0112] = orientation
        stored = np.asarray(Image.fromarray(upright).transpose(Image.Transpose[turn]))
        answer = served.detect(image_bytes(stored, exif=exif)).json()
        assert without_times(answer) == without_times(wanted), orientation


def test_identical_requests_at_the_same_time_get_identical_answers(served):
    with ThreadPoolExecutor(8) as pool:
        answers = list(pool.map(lambda data: served.detect(data).json(), [RED, GREEN] * 16))
    assert len({one["id"] for one in answers}) == 32
    for data, group in ((RED, answers[::2]), (GREEN, answers[1::2])):
        wanted = without_times(served.detect(data).json())
        assert all(without_times(one) == wanted for one in group)


def test_metrics_count_what_the_answers_reported(served):
    before = served.metrics()
    answers = [served.detect(data, top_k=k).json() for data in (RED, GREEN, GREEN) for k in (1, 2, 3)]
    after = served.metrics()

    def grown(name):
        return after[name] - before.get(name, 0)

    assert grown('sparsight_detections_total{model="tiny",version="1"}') == sum(
        len(a["predictions"]) for a in answers
    )
    for kind in ("used", "dense"):
        reported = sum(a["moe"]["gflops"][kind] for a in answers)
        assert grown(f'sparsight_compute_gflops_total{{kind="{kind}"}}') == pytest.approx(reported)
    for row, (layer, experts) in enumerate([("backbone.p4", 4), ("backbone.p5", 3)]):
        rows = [a["moe"]["layers"][row] for a in answers]
        for expert in range(experts):
            labels = f'{{expert="{expert}",layer="{layer}",model="tiny",version="1"}}'
            chosen = [r["weights"][r["active"].index(expert)] for r in rows if expert in r["active"]]
            assert grown(f"sparsight_expert_activations_total{labels}") == len(chosen)
            weight = grown(f"sparsight_expert_gate_weight_total{labels}")
            assert weight == pytest.approx(sum(chosen), abs=1e-4)
        bits = grown(f'sparsight_router_entropy_bits_sum{{layer="{layer}",model="tiny"}}')
        assert bits == pytest.approx(sum(r["entropy_bits"] for r in rows), abs=1e-4)
    assert grown('sparsight_requests_total{code="200",route="/detect"}') == len(answers)
    for stage in ("decode", "queue", "preprocess", "infer", "postprocess"):
        name = f'sparsight_stage_duration_seconds_count{{backend="openvino",stage="{stage}"}}'
        assert grown(name) == len(answers)


def test_static_routing_is_said_in_words(start, tmp_path):
    built = build_artifact(tmp_path, changes={"routing": "static"})
    answer = start(repository=built.repository).detect(RED).json()
    assert answer["moe"]["routing"] == "static"
    assert "Routing is static" in answer["warnings"][0]


def test_a_model_that_leaves_the_selection_to_the_service_finds_the_same(start, served, tmp_path):
    built = build_artifact(tmp_path, selection="service")
    query = {"conf": 0.01, "iou": 1}
    answer = start(repository=built.repository).detect(RED, **query).json()
    assert len(answer["predictions"]) == 2
    assert answer["predictions"] == served.detect(RED, **query).json()["predictions"]
