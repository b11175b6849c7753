"""The client's command: flags, requests, output, and exit status 0, 1 for errors, 2 for wrong usage."""

import json

import cv2
import numpy as np
import pytest

from clients import triton
from clients.command import main
from clients.errors import Busy
from tests.builders import image_bytes
from tests.unit.clients.answering import ANSWER, CLASSES, answering, problem
from tests.unit.clients.conftest import FakeTransport, answer_of, classifier_document, detector_document


@pytest.fixture
def transport(monkeypatch):
    fake = FakeTransport()
    fake.opened = []
    monkeypatch.setattr(triton, "_open", lambda *arguments: fake.opened.append(arguments) or fake)
    return fake


@pytest.fixture
def photo(tmp_path):
    path = tmp_path / "photo.png"
    path.write_bytes(image_bytes(np.zeros((128, 64, 3), np.uint8)))
    return path


def test_a_table_shows_what_was_found_and_which_experts_ran(transport, photo, capsys):
    assert main(["triton", str(photo), "--model", "tiny"]) == 0
    assert capsys.readouterr().out.splitlines() == [
        f"{photo}: 64 x 128 pixels, tiny version 1, 1 found",
        "",
        "  class      score    left    top    right    bottom",
        "  red        0.900     0.0    0.0     32.0      64.0",
        "",
        "  layer        experts that ran      of  router's entropy, bits",
        "  backbone.p4  1 (75%), 2 (25%)       4  2.00 of 2.00",
        "  backbone.p5  1 (75%), 2 (25%)       3  1.50 of 1.58",
        "",
    ]


def test_nothing_found_and_static_routing_are_said(transport, photo, capsys):
    transport.documents = [detector_document(routing="static")]
    transport.changes = answer_of(0)
    assert main(["triton", str(photo), "--model", "tiny"]) == 0
    told = capsys.readouterr().out
    assert "0 found" in told
    assert "class" not in told
    assert "choose the same experts for every image" in told


def test_json_is_one_line_an_image(transport, photo, capsys):
    assert main(["triton", str(photo), str(photo), "--model", "tiny", "--json"]) == 0
    lines = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
    assert [line["file"] for line in lines] == [str(photo)] * 2
    assert lines[0]["predictions"][0]["class"] == "red"


def test_options_reach_the_server(transport, photo):
    options = ["--conf=.5", "--iou=.25", "--max-det=7", "--top-k=1", "--weight-threshold=.125"]
    assert main(["triton", str(photo), "--model", "tiny", "--classes=red,2", *options]) == 0
    values = {name: value.item() for name, value in transport.sent[0].items() if name != "images"}
    # with classes, all that there can be are fetched, and cut afterwards
    assert values == {"conf": 0.5, "iou": 0.25, "max_det": 4, "top_k": 1, "weight_threshold": 0.125}


@pytest.mark.parametrize(
    ("options", "url", "protocol"),
    [
        ([], "127.0.0.1:8001", "grpc"),
        (["--protocol", "http"], "127.0.0.1:8000", "http"),
        (["--url", "gpu:9"], "gpu:9", "grpc"),
    ],
)
def test_a_protocol_has_its_usual_port(transport, photo, options, url, protocol):
    assert main(["triton", str(photo), "--model", "tiny", *options]) == 0
    assert transport.opened == [(url, protocol, None)]


def test_tls_is_a_switch_or_a_file(transport, photo, tmp_path):
    (tmp_path / "ca.pem").touch()
    main(["triton", str(photo), "--model", "tiny", "--tls"])
    main(["triton", str(photo), "--model", "tiny", "--ca", str(tmp_path / "ca.pem")])
    assert [tls.ca_file for _, _, tls in transport.opened] == [None, tmp_path / "ca.pem"]


def test_a_certificate_to_show_needs_its_key(transport, photo, tmp_path, capsys):
    for name in ("me.pem", "me.key"):
        (tmp_path / name).touch()
    shown = ["triton", str(photo), "--model", "tiny", "--cert", str(tmp_path / "me.pem")]
    assert main([*shown, "--key", str(tmp_path / "me.key")]) == 0
    ((_, _, tls),) = transport.opened
    assert (tls.cert_file, tls.key_file) == (tmp_path / "me.pem", tmp_path / "me.key")
    assert main(shown) == 1
    assert "cert_file and key_file belong together" in capsys.readouterr().err


def test_a_refusal_is_one_line_on_stderr(transport, photo, capsys):
    transport.refusals = [Busy("Triton's queue is full")]
    assert main(["triton", str(photo), "--model", "tiny"]) == 1
    told = capsys.readouterr()
    assert told.out == ""
    assert told.err.startswith("sparsight: Triton's queue is full")


def test_a_bad_image_is_named_and_the_one_before_it_is_reported(transport, photo, tmp_path, capfd):
    broken = tmp_path / "broken.png"
    broken.write_bytes(photo.read_bytes()[:-30])
    cv2.utils.logging.setLogLevel(cv2.utils.logging.LOG_LEVEL_WARNING)  # as when Python starts
    assert main(["triton", str(photo), str(broken), "--model", "tiny"]) == 1
    told = capfd.readouterr()
    assert "1 found" in told.out
    assert told.err.startswith(f"sparsight: {broken}: the PNG image is truncated, damaged")
    assert len(told.err.splitlines()) == 1  # OpenCV adds none


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["missing.jpg"], "missing.jpg"),
        (["photo.png", "--top-k", "9"], "use one of: 1, 2, 3, 4"),
        (["photo.png", "--classes", "rad"], "the classes are red, green, blue"),
        (["photo.png", "--timeout", "0"], "timeout_s=0.0"),
        (["photo.png", "--url", "http://x"], "write host:port"),
    ],
)
def test_what_cannot_be_done_is_said(transport, photo, monkeypatch, capsys, arguments, words):
    monkeypatch.chdir(photo.parent)
    assert main(["triton", *arguments, "--model", "tiny"]) == 1
    assert words in capsys.readouterr().err
    assert transport.sent == []


def test_a_classifier_is_asked_what_it_can_answer(transport, photo, capsys):
    transport.documents = [classifier_document()]
    assert main(["triton", str(photo), "--model", "tiny", "--top", "2", "--control", "top_k=1"]) == 0
    assert capsys.readouterr().out.splitlines() == [
        f"{photo}: 64 x 128 pixels, tiny version 1, blue most likely",
        "",
        "  class      score",
        "  blue       0.625",
        "  red        0.250",
        "",
        "  layer        experts that ran      of  router's entropy, bits",
        "  backbone.p4  1 (75%), 2 (25%)       4  2.00 of 2.00",
        "  backbone.p5  1 (75%), 2 (25%)       3  1.50 of 1.58",
        "",
    ]
    assert transport.sent[0]["top_k"].item() == 1
    assert main(["triton", str(photo), "--model", "tiny", "--conf", "0.5"]) == 1
    assert "the task 'classify' has no parameter conf" in capsys.readouterr().err


# ---- the service ----------------------------------------------------------------------------


def test_the_service_is_asked_to_detect(photo, capsys):
    with answering(body=json.dumps(ANSWER).encode()) as (address, seen):
        options = ["--url", f"http://{address}", "--model=cells", "--conf=.5", "--classes=red,2", "--top-k=1"]
        assert main(["detect", str(photo), *options]) == 0
        assert "tiny version 3, 1 found" in capsys.readouterr().out
        assert main(["detect", str(photo), *options, "--json"]) == 0
    assert json.loads(capsys.readouterr().out) == {"file": str(photo), **ANSWER}
    path, _, body = seen[0]
    for part in ("model=cells", "conf=0.5", "classes=red%2C2", "top_k=1"):
        assert part in path
    assert body == photo.read_bytes()


def test_the_service_is_asked_to_classify(photo, capsys):
    with answering(body=json.dumps(CLASSES).encode()) as (address, seen):
        options = ["--url", f"http://{address}", "--top", "1", "--control", "heat=0.5", "--backend=onnx"]
        assert main(["classify", str(photo), *options]) == 0
    assert "tiny version 3, red most likely" in capsys.readouterr().out
    for part in ("top=1", "heat=0.5", "backend=onnx"):
        assert part in seen[0][0]


@pytest.mark.parametrize(
    ("command", "answer", "words"),
    [
        ("detect", CLASSES, "model 'tiny' is for the task 'classify'; use the command classify"),
        ("classify", ANSWER, "model 'tiny' is for the task 'detect'; use the command detect"),
    ],
)
def test_a_model_of_another_task_names_the_command_to_use(photo, capsys, command, answer, words):
    with answering(body=json.dumps(answer).encode()) as (address, _):
        assert main([command, str(photo), "--url", f"http://{address}"]) == 1
    told = capsys.readouterr()
    assert (told.out, told.err) == ("", f"sparsight: {words}\n")


def test_a_problem_of_the_service_is_one_line_on_stderr(photo, capsys):
    with answering(404, problem("unknown-model", "there is no model 'x'; the models are tiny")) as (
        address,
        _,
    ):
        assert main(["detect", str(photo), "--url", f"http://{address}"]) == 1
    told = capsys.readouterr()
    assert (told.out, told.err) == ("", "sparsight: there is no model 'x'; the models are tiny\n")


def test_an_image_that_the_service_does_not_take_is_named(photo, capsys):
    with answering(415, problem("unsupported-image", "not an image")) as (address, _):
        assert main(["detect", str(photo), "--url", f"http://{address}"]) == 1
    assert capsys.readouterr().err == f"sparsight: {photo}: not an image\n"


# ---- usage ----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "arguments",
    [
        [],
        ["triton"],
        ["triton", "x", "--conf", "high"],
        ["nothing"],
        ["detect"],
        ["detect", "x", "--top", "1"],
        ["classify", "x", "--conf", "0.5"],
        ["detect", "x", "--control", "top_k"],
        ["detect", "x", "--control", "=1"],
        ["detect", "x", "--control", "top_k=nan"],
    ],
)
def test_wrong_usage_ends_with_2(arguments, capsys):
    with pytest.raises(SystemExit) as ended:
        main(arguments)
    assert ended.value.code == 2


@pytest.mark.parametrize("command", ["detect", "classify", "segment", "pose", "obb", "triton"])
def test_help_teaches(command, capsys):
    for arguments in (["--help"], [command, "--help"]):
        with pytest.raises(SystemExit) as ended:
            main(arguments, program="python -m clients")
        assert ended.value.code == 0
        assert f"python -m clients {command}" in capsys.readouterr().out
