"""What callers of other services expect: HEAD, CORS, their own request ids, lists, and file names."""

import numpy as np
import pytest

from tests.builders import build_artifact, golden_image, image_bytes
from tests.integration.service.test_refusals import refused

RED = image_bytes(golden_image())
GREEN = image_bytes(np.full((64, 64, 3), (30, 200, 30), np.uint8))
APP = "https://app.example"


def preflight(running, origin, method="POST", headers="content-type", path="/detect"):
    asked = {"Origin": origin, "Access-Control-Request-Method": method}
    return running.client.options(path, headers=asked | {"Access-Control-Request-Headers": headers})


@pytest.mark.parametrize(
    "path",
    ["/", "/docs", "/openapi.json", "/models", "/models/tiny/example", "/healthz", "/readyz", "/metrics"],
)
def test_head_is_get_without_the_body(served, path):
    whole, head = served.client.get(path), served.client.head(path)
    assert (head.status_code, head.content) == (200, b"")
    assert head.headers["content-type"] == whole.headers["content-type"]
    if path != "/metrics":  # its length grows with every request
        assert head.headers["content-length"] == str(len(whole.content))


def test_head_is_refused_where_get_is(served):
    answer = served.client.head("/detect")
    assert (answer.status_code, answer.headers["allow"]) == (405, "POST")
    assert served.client.head("/nowhere").status_code == 404
    answer = served.client.put("/healthz")
    assert "use GET, HEAD" in refused(answer, 405, "method-not-allowed")
    assert answer.headers["allow"] == "GET, HEAD"
    answer = served.client.put("/novel/x")  # two routes have this address
    assert (answer.status_code, answer.headers["allow"]) == (405, "DELETE, GET, HEAD")


def test_other_origins_may_not_read_answers_by_default(served):
    assert preflight(served, APP).status_code == 405
    answer = served.client.get("/models", headers={"Origin": APP})
    assert not [name for name in answer.headers if name.startswith("access-control")]


def test_listed_origins_may_call_and_others_may_not(start, repository):
    running = start(repository=repository, cors_origins=f"{APP},http://localhost:5173")
    for headers in ("content-type", "Content-Type, X-Request-Id", "traceparent", "content-encoding"):
        answer = preflight(running, APP, headers=headers)
        assert (answer.status_code, answer.headers["access-control-allow-origin"]) == (200, APP)
        assert "POST" in answer.headers["access-control-allow-methods"]
    assert preflight(running, "http://localhost:5173").status_code == 200
    for origin in ("https://evil.example", f"{APP}.evil.example", "http://app.example", "null"):
        assert "access-control-allow-origin" not in preflight(running, origin).headers
        answer = running.client.get("/models", headers={"Origin": origin})
        assert "access-control-allow-origin" not in answer.headers
    assert preflight(running, APP, headers="authorization", path="/models/reload").status_code == 400
    for answer in (
        running.client.post("/detect", content=RED, headers={"Origin": APP}),
        running.client.post("/detect", content=b"no image", headers={"Origin": APP}),
        running.client.get("/nowhere", headers={"Origin": APP}),
    ):
        assert answer.headers["access-control-allow-origin"] == APP
        assert answer.headers["access-control-expose-headers"] == "X-Request-Id, Retry-After"
        assert answer.headers["vary"] == "Origin"
        assert "access-control-allow-credentials" not in answer.headers


def test_every_origin_may_call_if_the_setting_says_so(start, repository):
    running = start(repository=repository, cors_origins="*")
    assert preflight(running, "http://any.example").headers["access-control-allow-origin"] == "*"
    answer = running.client.get("/models", headers={"Origin": "http://any.example"})
    assert answer.headers["access-control-allow-origin"] == "*"
    assert "access-control-allow-credentials" not in answer.headers


@pytest.mark.parametrize(
    "sent", ["a", "7f3c9a52-1b0e-4a39-9d5f-0a8e7a6e2b11", "Root=1-67891233-abc", "x" * 128]
)
def test_the_callers_request_id_is_kept(served, sent):
    for data in (RED, b"no image"):
        answer = served.client.post("/detect", content=data, headers={"X-Request-Id": sent})
        assert answer.json()["id"] == answer.headers["x-request-id"] == sent


@pytest.mark.parametrize("sent", ["", "x" * 129, "two words", 'a"b', "a;b", "caf\xe9", "{}", "<b>"])
def test_a_request_id_that_could_spoil_a_log_is_replaced(served, sent):
    headers = [("X-Request-Id", sent.encode("latin-1"))]
    answer = served.client.post("/detect", content=RED, headers=headers)
    assert answer.json()["id"] == answer.headers["x-request-id"]
    assert len(answer.json()["id"]) == 26
    twice = [("X-Request-Id", "one"), ("X-Request-Id", "two")]
    assert len(served.client.get("/healthz", headers=twice).headers["x-request-id"]) == 26


def test_each_image_of_a_form_has_the_id_of_the_request_and_a_number(served):
    files = [("image", ("1", RED)), ("image", ("2", b"no image"))]
    answer = served.client.post("/detect", files=files, headers={"X-Request-Id": "mine"})
    assert [one["id"] for one in answer.json()["results"]] == ["mine-1", "mine-2"]
    assert answer.headers["x-request-id"] == "mine"


@pytest.mark.parametrize("path", ["/detect?several=true", "/detect/batch", "/v1/detect/batch"])
def test_a_list_can_be_had_for_any_number_of_images(served, path):
    for count in (1, 2, 3):
        files = [("image", (f"{i}.png", RED)) for i in range(count)]
        results = served.client.post(path, files=files).json()["results"]
        assert [one["file"] for one in results] == [f"{i}.png" for i in range(count)]
        assert all(one["predictions"][0]["class"] == "red" for one in results)
    (alone,) = served.client.post(path, content=RED).json()["results"]
    assert "file" not in alone
    (wrong,) = served.client.post(path, files={"image": ("a.txt", b"no image")}).json()["results"]
    assert (wrong["status"], wrong["file"]) == (415, "a.txt")


def test_without_it_one_image_is_one_answer(served):
    assert "predictions" in served.client.post("/detect?several=false", content=RED).json()
    words = refused(served.detect(RED, several="maybe"), 422, "invalid-parameter")
    assert (
        words == "several=maybe cannot be used: Whether the answer to one image is a list, too: true, false"
    )


@pytest.mark.parametrize(
    ("sent", "told"),
    [
        ("photo.jpg", "photo.jpg"),
        ("C:\\Users\\me\\photo.jpg", "photo.jpg"),
        ("../../etc/passwd", "passwd"),
        ("Fisch im Fluß 魚.png", "Fisch im Fluß 魚.png"),
        ("a\x07b\x1b[31m.png", "ab[31m.png"),
        ("x" * 300, "x" * 255),
        ("=?utf-8?B?w7wucG5n?=\"; filename*=\"utf-8''%C3%BC.png", "=?utf-8?B?w7wucG5n?="),
        ("=?utf-8?B?w7wucG5n?=\"; filename*=utf-8''..%2F%C3%BC%0A.png; x=\"", "ü.png"),
    ],
)
def test_answers_name_the_file_of_a_form(served, sent, told):
    disposition = f'form-data; name="f"; filename="{sent}"'.encode()
    body = b"--b\r\nContent-Disposition: " + disposition + b"\r\n\r\n" + RED + b"\r\n--b--\r\n"
    headers = {"Content-Type": "multipart/form-data; boundary=b"}
    assert served.client.post("/detect", content=body, headers=headers).json()["file"] == told


def test_coco_has_the_names_too(served):
    files = [("image", ("a.png", RED)), ("image", ("b.txt", b"no image"))]
    told = served.client.post("/detect?format=coco", files=files).json()
    assert told["images"][0]["file_name"] == "a.png"
    assert told["problems"]["2"]["file"] == "b.txt"
    assert "file_name" not in served.detect(RED, format="coco").json()["images"][0]


@pytest.mark.parametrize(
    ("conf", "classes"),
    [
        ("0", ["red", "red", "green", "blue"]),
        ("0,red:1", ["green", "blue"]),
        ("red:1,0", ["green", "blue"]),
        ("0,red:1,green:1", ["blue"]),
        ("red:0", ["red", "red"]),
        ("red:1", []),
        ("0.9,0:0.7", ["red"]),
        (" 0.9 , red : 0.7 ", ["red"]),
    ],
)
def test_each_class_can_have_its_own_threshold(served, conf, classes):
    found = served.detect(RED, conf=conf, iou=1).json()["predictions"]
    assert [one["class"] for one in found] == classes


def test_a_threshold_of_a_class_is_inclusive(served):
    (found,) = served.detect(RED).json()["predictions"]
    score = np.float32(found["confidence"])
    for conf, count in ((score - np.float32(1e-5), 1), (score + np.float32(1e-5), 0)):
        assert len(served.detect(RED, conf=f"1,red:{conf}").json()["predictions"]) == count


@pytest.mark.parametrize(
    ("conf", "words"),
    [
        ("cat:0.5", "there is no class 'cat'; the classes are red, green, blue"),
        ("3:0.5", "there is no class '3'"),
        ("red:0.5,0:0.4", "conf is given twice for class 'red'"),
        ("red:0.5,red:0.4", "or a number for each class, by name or id, as in fish:0.4,shark:0.2"),
        ("0.3,0.4", "a number from 0 to 1"),
        ("red:1.01", "a number from 0 to 1"),
        ("red:-0.01", "a number from 0 to 1"),
        ("red:nan", "a number from 0 to 1"),
        ("red:", "a number from 0 to 1"),
        (":0.5", "a number from 0 to 1"),
        ("red", "a number from 0 to 1"),
        ("0.3,", "a number from 0 to 1"),
        ("", "a number from 0 to 1"),
        ("0_1", "a number from 0 to 1"),
    ],
)
def test_a_threshold_that_cannot_be_meant_is_refused(served, conf, words):
    answer = served.detect(RED, conf=conf)
    assert words in refused(answer, 422, "invalid-parameter")
    assert answer.json()["errors"][0]["parameter"] == "conf"


def assert_thresholds_and_suppression(running, backend):
    """Check with an image whose boxes of other classes overlap the red box with an IoU of 0.045."""

    def classes(**query):
        answer = running.detect(RED, backend=backend, top_k=4, **query).json()
        assert answer["model"]["backend"] == backend
        return [one["class"] for one in answer["predictions"]]

    assert classes(conf=1e-4, iou=0.04) == ["red", "green", "blue"]
    assert classes(conf=1e-4, iou=0.04, agnostic_nms="true") == ["red"]
    assert classes(conf="1e-4,red:1", iou=0.04, agnostic_nms="true") == ["green", "blue"]
    assert classes(conf="1,blue:1e-4", iou=0.04) == ["blue"]


@pytest.mark.parametrize("selection", ["graph", "service"])
def test_suppression_can_ignore_the_classes(start, tmp_path, selection):
    build_artifact(tmp_path, selection=selection)
    assert_thresholds_and_suppression(start(repository=tmp_path), "openvino")


def test_words_that_are_neither_true_nor_false_are_refused(served):
    refused(served.detect(RED, agnostic_nms="sometimes"), 422, "invalid-parameter")


@pytest.mark.parametrize(
    ("theirs", "ours"),
    [
        ("confidence", "conf"), ("overlap", "iou"), ("iou_threshold", "iou"), ("conf-thres", "conf"),
        ("max_detections", "max_det"), ("class_filter", "classes"), ("min_confidence", "conf"),
        ("Confidence", "conf"), ("class_agnostic_nms", "agnostic_nms"), ("model_id", "model"),
    ],
)  # fmt: skip
def test_the_names_of_other_services_are_answered_with_ours(served, theirs, ours):
    words = refused(served.detect(RED, **{theirs: "30"}), 422, "invalid-parameter")
    assert f"there is no parameter {theirs!r}; did you mean {ours!r}?" in words


@pytest.mark.parametrize("name", ["imgsz", "api_key", "augment"])
def test_a_name_like_no_other_is_answered_with_all_names(served, name):
    words = refused(served.detect(RED, **{name: "1"}), 422, "invalid-parameter")
    assert words.startswith(f"there is no parameter {name!r}. The parameters are model, conf, iou")
