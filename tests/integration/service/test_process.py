"""`python -m service` as an operator sees it: messages, exit codes, signals."""

import json
import os
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path

import httpx
import pytest

from tests.builders import build_artifact, golden_image, image_bytes

ROOT = Path(__file__).parents[3]


def command(**environment):
    inherited = {
        name: value
        for name, value in os.environ.items()
        if not name.startswith("SPARSIGHT_") and name not in {"HOST", "PORT"}
    }
    return {
        "args": [sys.executable, "-m", "service"],
        "env": inherited | {name: str(value) for name, value in environment.items()},
        "cwd": ROOT,
        "stderr": subprocess.PIPE,
        "text": True,
    }


def fails(code, words, **environment):
    ended = subprocess.run(**command(**environment), check=False, timeout=60)
    assert ended.returncode == code, ended.stderr
    assert "Traceback" not in ended.stderr
    assert words in ended.stderr.splitlines()[-1]


def test_it_says_when_it_is_ready_and_ends_well_when_told_to(repository):
    # Not settings, but set by whoever also runs the tests or a client.
    of_tests = {"SPARSIGHT_DATA": "data", "SPARSIGHT_API_KEY": "key"}
    with subprocess.Popen(**command(SPARSIGHT_REPOSITORY=repository, PORT=0, **of_tests)) as process:
        said = []
        for line in process.stderr:
            said.append(line)
            if "ready: open" in line:
                break
        url = said[-1].split()[-1]
        assert any("tiny version 1 loaded, golden sample reproduced" in line for line in said)
        image = image_bytes(golden_image())
        with httpx.Client(trust_env=False) as client:
            assert client.post(f"{url}detect", content=image).status_code == 200
        process.send_signal(signal.SIGTERM)
        process.stderr.read()
        assert process.wait(timeout=30) == 0


def client_is_served(client, url, image):
    try:
        return client.post(f"{url}detect", content=image).status_code == 200
    except httpx.TransportError:  # refused; or reset, if the connection met the end of the listening
        return False


def test_told_to_stop_it_takes_requests_until_a_load_balancer_has_noticed(repository):
    settings = {"SPARSIGHT_REPOSITORY": repository, "PORT": 0, "SPARSIGHT_SHUTDOWN_DELAY_S": 2}
    with subprocess.Popen(**command(**settings)) as process:
        url = next(line for line in process.stderr if "ready: open" in line).split()[-1]
        image = image_bytes(golden_image())
        with httpx.Client(trust_env=False) as client:
            before = client.post(f"{url}detect", content=image)
            process.send_signal(signal.SIGTERM)
            told_s = time.monotonic()
            while client.get(f"{url}readyz").status_code == 200:
                assert time.monotonic() - told_s < 1
            after = client.post(f"{url}detect", content=image)
            while client_is_served(client, url, image):
                pass
            took_s = time.monotonic() - told_s
        process.stderr.read()
        assert process.wait(timeout=30) == 0
    assert (before.status_code, after.status_code) == (200, 200)
    assert "connection" not in before.headers
    assert after.headers["connection"] == "close"
    assert 2 <= took_s < 4


def test_what_is_not_answered_in_the_time_to_stop_is_a_503_and_one_line(repository):
    settings = {"SPARSIGHT_REPOSITORY": repository, "PORT": 0, "SPARSIGHT_SHUTDOWN_TIMEOUT_S": 1}
    with subprocess.Popen(**command(**settings)) as process:
        url = next(line for line in process.stderr if "ready: open" in line).split()[-1]
        port = int(url.rstrip("/").rpartition(":")[2])
        with socket.create_connection(("127.0.0.1", port), timeout=20) as connection:
            connection.sendall(b"POST /detect HTTP/1.1\r\nHost: x\r\nX-Request-Id: mine\r\n")
            connection.sendall(b"Content-Length: 9\r\n\r\nabc")  # the rest never comes
            time.sleep(0.2)
            process.send_signal(signal.SIGTERM)
            received = b""
            while part := connection.recv(65536):
                received += part
        log = process.stderr.read()
        assert process.wait(timeout=30) == 0
    head, _, body = received.partition(b"\r\n\r\n")
    assert head.startswith(b"HTTP/1.1 503 ")
    assert b"connection: close" in head
    assert json.loads(body)["type"].endswith("not-ready")
    assert json.loads(body)["id"] == "mine"
    assert "request_cut path=/detect id=mine" in log
    assert "request_answered route=/detect code=503 id=mine" in log
    assert "Traceback" not in log


def test_with_json_every_line_of_the_log_is_an_event(repository):
    wanted = {"SPARSIGHT_REPOSITORY": repository, "PORT": 0, "SPARSIGHT_LOG_FORMAT": "json"}
    with subprocess.Popen(**command(**wanted)) as process:
        events = []
        for line in process.stderr:
            events.append(json.loads(line))
            if events[-1]["event"] == "service_ready":
                break
        with httpx.Client(trust_env=False) as client:
            client.get(f"{events[-1]['url']}models")
        process.send_signal(signal.SIGTERM)
        events += [json.loads(line) for line in process.stderr]
        assert process.wait(timeout=30) == 0
    loaded = next(event for event in events if event["event"] == "model_loaded")
    assert (loaded["model"], loaded["version"], loaded["backend"]) == ("tiny", "1", "openvino")
    answered = next(event for event in events if event["event"] == "request_answered")
    assert (answered["route"], answered["code"]) == ("/models", 200)


def test_without_triton_it_stays_says_why_and_ends_well_when_told_to():
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))  # nobody listens there
        url = f"127.0.0.1:{taken.getsockname()[1]}"
        with subprocess.Popen(
            **command(SPARSIGHT_BACKENDS="triton", SPARSIGHT_TRITON__URL=url, PORT=0)
        ) as process:
            assert f"of triton at {url}" in process.stderr.readline()
            assert "triton does not answer" in process.stderr.readline()
            process.send_signal(signal.SIGTERM)
            process.stderr.read()
            assert process.wait(timeout=30) == 0


def test_a_repository_that_is_not_there_is_one_sentence(tmp_path):
    fails(
        1,
        "missing is not a folder; set SPARSIGHT_REPOSITORY",
        SPARSIGHT_REPOSITORY=tmp_path / "missing",
        PORT=0,
    )


def test_an_altered_file_is_one_sentence(tmp_path):
    built = build_artifact(tmp_path)
    (built.folder / "model.bin").write_bytes(b"other")
    fails(1, "model.bin has sha256", SPARSIGHT_REPOSITORY=tmp_path, PORT=0)


def test_a_port_in_use_is_one_sentence(repository):
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]
        fails(1, f"cannot listen on 127.0.0.1:{port}", SPARSIGHT_REPOSITORY=repository, PORT=port)


@pytest.mark.parametrize("content", [None, "{", '{"keys": [{"name": "a"}]}'])
def test_a_gateway_whose_keys_cannot_be_read_does_not_start_open(repository, tmp_path, content):
    file = tmp_path / "keys.json"
    if content is not None:
        file.write_text(content)
    wanted = {"SPARSIGHT_REPOSITORY": repository, "SPARSIGHT_ACCESS__KEYS_FILE": file, "PORT": 0}
    fails(2, f"{file} cannot be", **wanted)


def test_an_audit_file_that_cannot_be_written_is_one_sentence(repository, tmp_path):
    (tmp_path / "keys.json").write_text('{"keys": []}')
    wanted = {"SPARSIGHT_ACCESS__KEYS_FILE": tmp_path / "keys.json", "SPARSIGHT_REPOSITORY": repository}
    fails(2, "cannot be opened", **wanted, SPARSIGHT_ACCESS__AUDIT_FILE=tmp_path / "a" / "b", PORT=0)


def test_a_certificate_that_is_not_there_is_one_sentence(tmp_path):
    missing = {"SPARSIGHT_TRITON__TLS": "true", "SPARSIGHT_TRITON__TLS_CA": tmp_path / "ca.pem"}
    fails(2, "ca.pem cannot be read: No such file", SPARSIGHT_BACKENDS="triton", PORT=0, **missing)


@pytest.mark.parametrize(
    ("environment", "words"),
    [
        ({"PORT": "eighty"}, "PORT='eighty' cannot be used"),
        ({"SPARSIGHT_WORKERS": "0"}, "SPARSIGHT_WORKERS='0' cannot be used"),
        ({"SPARSIGHT_REPOSITROY": "x"}, "did you mean SPARSIGHT_REPOSITORY?"),
        ({"SPARSIGHT_BACKENDS": "triton,cuda"}, "SPARSIGHT_BACKENDS='cuda' cannot be used"),
        ({"SPARSIGHT_TRITON__URL": "http://t:1"}, "SPARSIGHT_TRITON__URL='http://t:1' cannot be used"),
        ({"SPARSIGHT_TRITON__TLS_KEY": "k"}, "tls_cert and tls_key belong together"),
        ({"SPARSIGHT_TLS__KEY": "k"}, "settings SPARSIGHT_TLS__… do not fit together: cert and key belong"),
        ({"SPARSIGHT_ACCESS__JWKS_FILE": "j"}, "jwks_file, jwt_issuer and jwt_audience belong together"),
        ({"SPARSIGHT_ACCESS__KEY_FILE": "k"}, "did you mean SPARSIGHT_ACCESS__KEYS_FILE?"),
        ({"SPARSIGHT_BACKENDS": "triton,triton"}, "backends must name each backend once"),
        ({"SPARSIGHT_ADMIN_TOKEN": "hunter2"}, "SPARSIGHT_ADMIN_TOKEN cannot be used"),
        ({"SPARSIGHT_OPENVINO__THREADS": "-1"}, "SPARSIGHT_OPENVINO__THREADS='-1' cannot be used"),
    ],
)
def test_a_bad_setting_is_one_sentence(environment, words):
    fails(2, words, **environment)


def test_help_lists_the_settings():
    arguments = command() | {"args": [sys.executable, "-m", "service", "--help"]}
    told = subprocess.run(**arguments, stdout=subprocess.PIPE, check=True).stdout
    names = [
        "REPOSITORY",
        "MAX_PIXELS",
        "OPENVINO__CACHE_DIR",
        "BACKENDS",
        "TRITON__URL",
        "BREAKER__FAILURES",
    ]
    for name in (*(f"SPARSIGHT_{name}" for name in names), "PORT"):
        assert name in told
    assert "SPARSIGHT_BACKENDS  (default: openvino)" in told


def test_a_process_that_may_fetch_from_this_machine_by_name_does_not(repository):
    listed = {"SPARSIGHT_FETCH__HOSTS": "localhost", "SPARSIGHT_REPOSITORY": repository, "PORT": 0}
    with subprocess.Popen(**command(**listed)) as process:
        url = next(line.split()[-1] for line in process.stderr if "ready: open" in line)
        with httpx.Client(trust_env=False) as client:
            answers = [
                client.post(f"{url}detect", json={"url": f"https://{host}/"}) for host in ("localhost", "a")
            ]
        process.send_signal(signal.SIGTERM)
        log = process.stderr.read()
        assert process.wait(timeout=30) == 0
    assert [answer.json()["type"].rpartition(":")[2] for answer in answers] == [
        "fetch-failed",
        "fetch-refused",
    ]
    assert "not all addresses are public" in log


def test_a_file_without_certificates_is_an_error_in_the_settings(repository):
    listed = {"SPARSIGHT_FETCH__HOSTS": "a.example", "SPARSIGHT_FETCH__CA": ROOT / "LICENSE"}
    fails(2, "SPARSIGHT_FETCH__CA", SPARSIGHT_REPOSITORY=repository, PORT=0, **listed)


def test_a_host_that_cannot_be_meant_is_an_error_in_the_settings(repository):
    fails(2, "SPARSIGHT_FETCH__HOSTS=", SPARSIGHT_REPOSITORY=repository, SPARSIGHT_FETCH__HOSTS="*")
