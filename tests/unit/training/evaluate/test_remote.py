"""Evaluation of a service over real HTTP on loopback."""

import json
import threading
from contextlib import closing
from http.server import BaseHTTPRequestHandler, HTTPServer
from types import SimpleNamespace
from urllib.parse import parse_qs, urlsplit

import pytest

from tests.unit.training.yolo_folder import write_split
from training.data_config import FolderConfig
from training.errors import DatasetError
from training.evaluate.detections import DetectConfig
from training.evaluate.remote import RemoteDetector, ServiceError
from training.workflows.measure import evaluate_service

ONE = {"x": 15, "y": 30, "width": 10, "height": 20, "confidence": 0.75, "class": "ring", "class_id": 9}


@pytest.fixture
def service(monkeypatch):
    """A server that answers with .status and .body, and keeps the last request."""
    for name in ("http_proxy", "HTTP_PROXY", "all_proxy", "ALL_PROXY"):
        monkeypatch.delenv(name, raising=False)
    models = [
        {"name": name, "task": "detect", "classes": ["disc", "ring"], "keypoints": None}
        for name in ("shapes", "cells")
    ]
    state = SimpleNamespace(status=200, body=json.dumps({"predictions": [ONE]}), request=None)
    state.models = json.dumps({"default": "shapes", "models": models})

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self):
            self.answer(200, state.models)

        def do_POST(self):
            body = self.rfile.read(int(self.headers["content-length"]))
            parts = urlsplit(self.path)
            state.request = SimpleNamespace(path=parts.path, query=parse_qs(parts.query), body=body)
            self.answer(state.status, state.body)

        def answer(self, status, text):
            self.send_response(status)
            self.send_header("content-length", str(len(text.encode())))
            self.end_headers()
            self.wfile.write(text.encode())

        def log_message(self, *_):
            pass

    server = HTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
    thread.start()
    state.url = f"http://127.0.0.1:{server.server_port}"
    yield state
    server.shutdown()
    thread.join()
    server.server_close()


def detect(service, model=None, backend=None):
    config = DetectConfig(conf=0.125, iou=0.5, max_det=7)
    with closing(RemoteDetector(service.url, config, model, backend)) as remote:
        remote.served_model()
        return remote.detect(b"image")


def test_answers_become_corners_scores_and_the_class_ids_of_the_model(service):
    got = detect(service)
    assert got.boxes_xyxy.tolist() == [[10, 20, 20, 40]]
    assert got.scores.tolist() == [0.75]
    assert got.class_ids.tolist() == [1]


def test_an_answer_without_detections_is_empty(service):
    service.body = json.dumps({"predictions": []})
    got = detect(service)
    assert (got.boxes_xyxy.shape, got.scores.shape, got.class_ids.shape) == ((0, 4), (0,), (0,))


def test_the_picture_is_sent_as_it_is_with_the_thresholds_of_the_evaluation(service):
    detect(service)
    assert (service.request.path, service.request.body) == ("/detect", b"image")
    assert service.request.query == {"conf": ["0.125"], "iou": ["0.5"], "max_det": ["7"], "moe": ["off"]}


def test_a_model_is_asked_for_by_name(service):
    detect(service, model="cells")
    assert service.request.query["model"] == ["cells"]


def test_a_backend_is_asked_for_by_name_and_otherwise_left_to_the_service(service):
    detect(service, backend="triton")
    assert service.request.query["backend"] == ["triton"]
    detect(service)
    assert "backend" not in service.request.query


def test_a_problem_is_told_in_the_words_of_the_service(service):
    service.status, service.body = 404, '{"detail": "no model cells"}'
    with pytest.raises(ServiceError, match=r"127\.0\.0\.1:\d+ answered 404: .*no model cells"):
        detect(service)


@pytest.mark.parametrize("body", ["<html>", "{}", "[]", "null"])
def test_an_answer_of_something_else_is_no_detection(service, body):
    service.body = body
    with pytest.raises(ServiceError, match="answered something other than detections"):
        detect(service)


MASK = {"size": [4, 6], "counts": "`0"}
POINTS = [
    {"name": "nose", "x": 1, "y": 2, "confidence": 0.5},
    {"name": "tail", "x": 3, "y": 4, "confidence": 1},
]
CORNERS = [[11, 21], [20, 30], [9, 38], [2, 29]]


def of_task(service, task, **more):
    """Make the service answer as a model of a task, with more than a box."""
    keypoints = ["nose", "tail"] if task == "pose" else None
    model = {"name": "shapes", "task": task, "classes": ["disc", "ring"], "keypoints": keypoints}
    service.models = json.dumps({"default": "shapes", "models": [model]})
    service.body = json.dumps({"predictions": [{**ONE, **more}]})
    return detect(service)


def test_masks_keypoints_and_corners_are_read_as_the_task_of_the_model_has_them(service):
    (mask,) = of_task(service, "segment", mask=MASK).masks
    assert (mask.image_hw, mask.counts) == ((4, 6), b"`0")
    assert service.request.query["masks"] == ["rle"]
    assert of_task(service, "pose", keypoints=POINTS).keypoints.tolist() == [[[1, 2, 0.5], [3, 4, 1]]]
    assert "masks" not in service.request.query
    turned = of_task(service, "obb", corners=CORNERS)
    assert turned.corners.tolist() == [CORNERS]
    assert turned.boxes_xyxy.tolist() == [[2, 21, 20, 38]]


@pytest.mark.parametrize("task", ["segment", "pose", "obb"])
def test_an_answer_without_objects_has_no_shapes(service, task):
    of_task(service, task, mask=MASK, keypoints=POINTS, corners=CORNERS)
    service.body = json.dumps({"predictions": []})
    got = detect(service)
    shapes = (got.masks, got.keypoints, got.corners)
    empty = {"segment": got.masks, "pose": got.keypoints, "obb": got.corners}[task]
    assert len(empty) == len(got.scores) == 0
    assert sum(each is None for each in shapes) == 2


@pytest.mark.parametrize(
    ("task", "shape"),
    [
        ("segment", {}),
        ("segment", {"mask": {"polygon": [[0, 0, 1, 1]]}}),
        ("segment", {"mask": {"size": [4, 6], "counts": [24]}}),
        ("pose", {}),
        ("obb", {"corners": CORNERS[:3]}),
    ],
)
def test_an_answer_without_the_shapes_of_the_task_is_no_detection(service, task, shape):
    with pytest.raises(ServiceError, match="answered something other than detections"):
        of_task(service, task, **shape)


def test_keypoints_that_the_list_of_models_does_not_state_are_refused(service):
    with pytest.raises(ServiceError, match="other keypoints than its list of models states, nose, tail;"):
        of_task(service, "pose", keypoints=POINTS[::-1])


def test_a_class_that_the_list_of_models_does_not_state_is_named(service):
    service.body = json.dumps({"predictions": [{**ONE, "class": "fish"}]})
    with pytest.raises(ServiceError, match=r"does not state: \['fish'\]"):
        detect(service)


def test_classes_are_those_of_the_named_model_or_else_of_the_default_one(service):
    service.models = json.dumps(
        {
            "default": "fish",
            "models": [
                {"name": "fish", "task": "detect", "classes": ["carp"]},
                {"name": "dogs", "task": "detect", "classes": ["pug"]},
            ],
        }
    )
    for model, names in ((None, ("carp",)), ("dogs", ("pug",))):
        with closing(RemoteDetector(service.url, DetectConfig(), model)) as remote:
            assert remote.served_model() == ("detect", names, ())
    with pytest.raises(ServiceError, match="serves no model birds; there are: fish, dogs"):
        detect(service, model="birds")


def test_a_service_is_measured_on_the_classes_that_it_shares_with_the_data(service, tmp_path, caplog):
    caplog.set_level("INFO", "training")
    write_split(tmp_path, "val", ["0 0.25 0.5 0.16 0.32\n1 0.7 0.7 0.2 0.2"], (60, 60))
    (tmp_path / "data.yaml").write_text("names: [ring, fish]\n")  # the service knows disc and ring
    data = FolderConfig(root=str(tmp_path), split="val")
    result = evaluate_service(service.url, data)
    assert result.images == 1
    assert result.mean_ap.map50_by_class == {"ring": pytest.approx(1.0)}
    assert "labels: objects of classes that the model does not know, left out (fish): 1" in caplog.messages
    assert "labels: classes that nobody labelled, left out of the mean: disc" in caplog.messages
    (tmp_path / "data.yaml").write_text("names: [whale, fish]\n")
    with pytest.raises(DatasetError, match="labels whale, fish, but the model knows disc, ring"):
        evaluate_service(service.url, data)
    (tmp_path / "data.yaml").write_text("names: [bird, disc]\n")
    (tmp_path / "labels" / "val" / "0.txt").write_text("0 0.5 0.5 0.2 0.2")
    with pytest.raises(DatasetError, match="no labelled object of disc, ring, so nothing can be measured"):
        evaluate_service(service.url, data)


@pytest.mark.parametrize("models", ["<html>", "{}", "[]", '{"default": "a", "models": [{"name": "a"}]}'])
def test_a_list_of_models_that_is_something_else_is_refused(service, models):
    service.models = models
    with pytest.raises(ServiceError, match="answered something other than its models"):
        detect(service)


@pytest.mark.parametrize(
    ("url", "message"),
    [
        pytest.param("http://127.0.0.1:1", "no answer from .*is the service running", id="nobody listens"),
        pytest.param("127.0.0.1:8000", "no answer from|not an address", id="no scheme"),
        pytest.param("http://127.0.0.1:port", "'http://127.0.0.1:port' is not an address", id="no number"),
    ],
)
def test_an_address_where_nothing_is_says_so(monkeypatch, url, message):
    monkeypatch.setenv("NO_PROXY", "*")
    with pytest.raises(ServiceError, match=message):
        detect(SimpleNamespace(url=url))
