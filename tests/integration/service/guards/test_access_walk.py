"""Every path of a real gateway refuses callers whom the table does not allow, however they ask."""

import json
import re
import signal
import time

import pytest

from service.access.keys import read_keys
from service.access.table import RULES, rule_of
from service.app import create_app
from service.settings import Settings
from tests.access.running import ADMIN_TOKEN, CALLERS, OPERATOR, running
from tests.access.walk import IMAGE, KINDS, ask_with_all, routes_of, walk

APP = create_app(Settings.model_construct())
CLOSED = [path.replace("{name}", "tiny") for path, rule in RULES.items() if rule.need != "open"]
EVIL = "evil.example"
HOSTILE = [
    f"X-Forwarded-For: {EVIL}",
    f"X-Forwarded-Host: {EVIL}",
    "X-Forwarded-Proto: https",
    "X-Forwarded-Prefix: /ui",
    f"Forwarded: for={EVIL};host={EVIL}",
    f"X-Real-IP: {EVIL}",
    "X-Original-URL: /healthz",
    "X-Rewrite-URL: /healthz",
    "X-HTTP-Method-Override: GET",
    "X-HTTP-Method: GET",
    "X-Method-Override: GET",
]
HOSTS = [
    EVIL,
    f"{EVIL}/healthz",
    f"{EVIL}/healthz?",
    "healthz",
    f"{EVIL}:99999",
    "[::1",
    "a@b",
    "",
    "localhost#/",
]


@pytest.fixture(scope="module")
def gateway(repository, tmp_path_factory):
    with running(tmp_path_factory.mktemp("closed"), repository) as started:
        yield started


def key(gateway, kind):
    return f"Authorization: Bearer {gateway.keys[kind]}"


def test_every_route_asks_for_what_the_table_says(gateway):
    rows = list(walk(gateway, APP))
    assert {row.path for row in rows} == set(routes_of(APP)) == set(RULES)
    assert [fault for row in rows for fault in row.faults] == []


def test_with_a_port_for_the_operator_both_ports_ask(repository, tmp_path):
    with running(tmp_path, repository, SPARSIGHT_ADMIN_PORT=0) as gateway:
        rows = list(walk(gateway, APP))
    for port in (CALLERS, OPERATOR):
        assert {row.path for row in rows if row.port == port} == set(RULES)
    assert [fault for row in rows for fault in row.faults] == []
    found = {(row.port, row.path): row.statuses[-1] for row in rows if row.method in ("GET", "POST")}
    assert found[CALLERS, "/metrics"] == found[OPERATOR, "/detect"] == found[OPERATOR, "/"] == 404


def test_a_new_route_would_be_found_and_closed(gateway):
    row = ask_with_all(gateway, "GET", "/new", "/new")
    assert row.faults == []
    assert dict(zip(KINDS, row.statuses, strict=True)) == {
        **dict.fromkeys(KINDS, 401),
        "wrong scope": 403,
        "right scope": 404,
    }


@pytest.mark.parametrize("path", CLOSED)
@pytest.mark.parametrize(
    "write",
    [
        lambda path: "/" + path,
        lambda path: path + "/",
        lambda path: path + "?x=/healthz",
        lambda path: path + "#/healthz",
        lambda path: path + ";/healthz",
        lambda path: path + "%00",
        lambda path: path + "%0a",
        lambda path: path + "/..",
        lambda path: path + "/../healthz",
        lambda path: "/healthz/.." + path,
        lambda path: "/." + path,
        lambda path: "/ui/.." + path,
        lambda path: "/%2e%2e" + path,
        lambda path: path.upper(),
        lambda path: path[:2].upper() + path[2:],
        lambda path: path[0] + f"%{ord(path[1]):02x}" + path[2:],
        lambda path: path.replace("/", "%2f"),
        lambda path: path.replace("/", "\\"),
        lambda path: "http://127.0.0.1" + path,
        lambda path: f"http://{EVIL}" + path,
        lambda path: "http://x/healthz/.." + path,
    ],
)
def test_no_other_way_to_write_an_address_passes_by(gateway, path, write):
    target = write(path)
    for method in ("GET", "POST", "HEAD"):
        body = IMAGE if method == "POST" else b""
        for headers in ((), (key(gateway, "garbage"),), (key(gateway, "revoked"),)):
            assert gateway.ask(method, target, *headers, body=body).status in (400, 401), target
    if rule_of(path)[1].need != "metrics":
        assert gateway.ask("GET", target, key(gateway, "metrics")).status in (400, 403), target
    if path == "/models/reload":
        assert gateway.ask("POST", target, key(gateway, "detect")).status in (400, 403), target


@pytest.mark.parametrize(
    "method", ["PUT", "DELETE", "PATCH", "TRACE", "PROPFIND", "get", "OPTIONS", "CONNECT"]
)
def test_no_other_method_passes_by(gateway, method):
    for path in CLOSED:
        assert gateway.ask(method, path).status in (400, 401), path


def told(answer):
    """Return the parts of an answer that are the same for equal requests."""
    headers = {name: answer.headers[name] for name in answer.headers if name not in ("date", "x-request-id")}
    body = answer.body
    if answer.headers.get("content-type") == "application/problem+json":
        body = {name: value for name, value in json.loads(body).items() if name != "id"}
    elif b'"timing_ms":{' in body:
        body = re.findall(rb'"predictions":.*?\]', body)
        headers.pop("content-length")
    elif body.startswith(b"# HELP"):
        body = b"# HELP"
        headers.pop("content-length")
    return answer.status, headers, body


@pytest.mark.parametrize("host", [*HOSTS, "x"])
def test_a_hostile_host_or_header_changes_nothing(gateway, host):
    headers = HOSTILE if host == "x" else []
    for path in (*RULES, "/nothing", "/detect/", "//detect"):
        target = path.replace("{name}", "tiny")
        for kind in (None, "admin"):
            sent = [] if kind is None else [key(gateway, kind)]
            methods = ("GET",) if path == "/models/reload" else ("GET", "POST")
            for method in methods:
                body = IMAGE if method == "POST" else b""
                plain = gateway.ask(method, target, *sent, body=body)
                answer = gateway.ask(method, target, *sent, *headers, body=body, host=host)
                if answer.status != 400:  # the parser does not take every Host
                    assert told(answer) == told(plain), (method, target)
                assert EVIL.encode() not in answer.body
                assert EVIL not in str(answer.headers)
    assert EVIL not in "".join(gateway.log)
    assert EVIL not in (gateway.folder / "audit.jsonl").read_text()


def test_no_secret_is_ever_written_or_answered(gateway):
    answers = []
    for text in (*gateway.keys.values(), ADMIN_TOKEN):
        for headers in (
            (f"Authorization: Bearer {text}",),
            (f"X-Api-Key: {text}",),
            (f"Authorization: Basic {text}",),
            (f"Authorization: Bearer {text}", f"X-Api-Key: {text}"),
            (f"Cookie: key={text}",),
        ):
            for path in ("/detect", "/models", "/metrics", "/nothing", "/readyz"):
                answers.append(gateway.ask("GET", path, *headers))
        answers.append(gateway.ask("POST", "/models/reload", f"Authorization: Bearer {text}", body=b"x"))
    metrics = gateway.ask("GET", "/metrics", key(gateway, "metrics"))
    time.sleep(0.2)  # the audit file is written beside
    everything = [str(one.headers) + one.body.decode() for one in (*answers, metrics)]
    everything += [*gateway.log, (gateway.folder / "audit.jsonl").read_text()]
    everything.append((gateway.folder / "keys.json").read_text())
    text = "".join(everything)
    assert len(answers) == 7 * 26
    assert "a-detect" in text  # names are there
    assert "a-revoked" in text
    for secret in (*gateway.keys.values(), ADMIN_TOKEN):
        assert secret not in text
    for listed in read_keys(gateway.folder / "keys.json"):
        assert listed.sha256 not in text.replace((gateway.folder / "keys.json").read_text(), "")


def test_a_signal_makes_the_gateway_read_its_keys(gateway):
    log = gateway.log
    before = sum("access_file_read" in line for line in log)
    gateway.process.send_signal(signal.SIGHUP)
    end = time.monotonic() + 10
    while sum("access_file_read" in line for line in log) == before:
        assert time.monotonic() < end
        time.sleep(0.02)
    file = gateway.folder / "keys.json"
    good = file.read_bytes()
    file.write_bytes(b"{")
    while not any("access_file_broken" in line for line in log):
        assert time.monotonic() < end
        time.sleep(0.02)
    assert gateway.ask("GET", "/models", key(gateway, "detect")).status == 200
    metrics = gateway.ask("GET", "/metrics", key(gateway, "metrics")).body
    assert b'sparsight_access_file_broken{file="keys"} 1.0' in metrics
    file.write_bytes(good)
