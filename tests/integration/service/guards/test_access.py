"""A service that asks for keys, as its callers see it."""

import json
import re
import time

import httpx
import jwt
import pytest
from cryptography.hazmat.primitives.asymmetric import ec

from service.access.keys import Key, as_text, hash_of, new_key
from service.guard_settings import AccessSettings
from service.rest.middleware.doorstep import Doorstep
from tests.builders import golden_image, image_bytes
from tests.integration.service.conftest import serve, wait_until_ready
from tests.integration.service.test_doorstep import connect, head, read_answer

RED = image_bytes(golden_image())
TOKEN = "the operator's own words"


class Keys:
    """A file with keys, and the keys."""

    def __init__(self, folder):
        self.file, self._listed = folder / "keys.json", []
        self._write()

    def new(self, name="line-3", scope="detect", **limits):
        text = new_key()
        self._listed.append(Key(name=name, sha256=hash_of(text.encode()), scopes=(scope,), **limits))
        self._write()
        return {"Authorization": f"Bearer {text}"}

    def _write(self):
        self.file.write_text(as_text(self._listed))


@pytest.fixture
def keys(tmp_path):
    return Keys(tmp_path)


@pytest.fixture
def start_closed(start, repository, keys, tmp_path):
    """Return a function that starts a service with the keys that exist at the time of the call."""

    def start_one(*, ready=True, **settings):
        access = AccessSettings(keys_file=keys.file, audit_file=tmp_path / "audit.jsonl")
        running = start(**{"repository": repository, "access": access} | settings)
        end = time.monotonic() + 10  # without a key, the answer does not say whether it is worth waiting
        while ready and running.client.get("/readyz").status_code != 200:
            assert time.monotonic() < end
            time.sleep(0.02)
        return running

    return start_one


def detect(running, key=None, **more):
    return running.client.post("/detect", content=RED, headers=key, **more)


def bytes_of(key):
    return key["Authorization"].removeprefix("Bearer ").encode()


def slug(answer):
    return answer.json()["type"].rpartition(":")[2]


def answered(caplog):
    """Return the events of answered requests, with what the log says about each."""
    return [record for record in caplog.records if record.message == "request_answered"]


def test_a_caller_without_a_key_is_told_what_to_send(start_closed):
    answer = detect(start_closed())
    assert (answer.status_code, slug(answer)) == (401, "unauthorized")
    assert answer.headers["www-authenticate"] == "Bearer"
    assert answer.headers["content-type"] == "application/problem+json"
    assert answer.json()["id"] == answer.headers["x-request-id"]
    assert "Authorization: Bearer KEY" in answer.json()["detail"]


def test_a_key_without_the_word_bearer_is_answered_with_what_is_missing(start_closed, keys):
    key = bytes_of(keys.new()).decode()
    running = start_closed()
    for value in (key, f"Basic {key}", f"Bearer{key}"):
        answer = detect(running, {"Authorization": value})
        assert answer.status_code == 401
        assert "does not begin with Bearer" in answer.json()["detail"]
    assert detect(running, {"Authorization": f"bearer {key}"}).status_code == 200
    assert detect(running, {"Authorization": "Basic eDp5", "X-Api-Key": key}).status_code == 200


def test_a_caller_with_a_key_is_answered_and_named_in_the_log(start_closed, keys, caplog):
    key = keys.new()
    running = start_closed()
    assert detect(running, key).status_code == 200
    assert running.client.get("/models", headers=key).status_code == 200
    key_id = hash_of(bytes_of(key))[:8]
    assert [(record.route, record.key, record.key_id) for record in answered(caplog)] == [
        ("/detect", "line-3", key_id),
        ("/models", "line-3", key_id),
    ]
    metrics = running.client.get("/metrics", headers=key)
    assert (metrics.status_code, slug(metrics)) == (403, "forbidden")
    assert "'metrics'" in metrics.json()["detail"]


def test_a_refusal_is_in_the_log_and_in_the_audit_file(start_closed, keys, tmp_path, caplog):
    key = keys.new("scraper", "metrics")
    running = start_closed()
    sent = {"X-Request-Id": "mine-1", "X-Forwarded-For": "6.6.6.6", "Forwarded": "for=6.6.6.6"}
    assert detect(running, key | sent).status_code == 403
    wanted = {"why": "scope", "key": "scraper", "route": "/detect", "code": 403, "id": "mine-1"}
    wanted |= {"caller": "127.0.0.1", "omitted": 0, "key_id": hash_of(bytes_of(key))[:8]}
    (record,) = (one for one in caplog.records if one.message == "access_refused")
    assert {name: getattr(record, name) for name in wanted} == wanted
    (event,) = wait_for_events(tmp_path / "audit.jsonl", 1)
    assert {name: event[name] for name in wanted} == wanted
    assert event["event"] == "access_refused"


def wait_for_events(path, count):
    end = time.monotonic() + 5
    while len(lines := path.read_text().splitlines()) < count:
        assert time.monotonic() < end
        time.sleep(0.01)
    return [json.loads(line) for line in lines]


def test_what_an_administrator_does_is_written(start_closed, keys, tmp_path, caplog):
    key = keys.new("ops", "admin")
    running = start_closed(admin_token=TOKEN)
    assert running.client.post("/models/reload", headers=key).status_code == 200
    by_token = {"Authorization": f"Bearer {TOKEN}"}
    assert running.client.post("/models/reload", headers=by_token).status_code == 200
    acted = [(one.key, one.route, one.code) for one in caplog.records if one.message == "admin_action"]
    assert acted == [("ops", "/models/reload", 200), ("admin-token", "/models/reload", 200)]
    events = wait_for_events(tmp_path / "audit.jsonl", 2)
    assert [event["key"] for event in events] == ["ops", "admin-token"]


def test_an_administrator_needs_no_token_where_there_are_keys(start_closed, keys):
    admin, other = keys.new("ops", "admin"), keys.new()
    running = start_closed()
    assert running.client.post("/models/reload", headers=admin).status_code == 200
    assert running.client.post("/models/reload", headers=other).status_code == 403


def test_a_probe_learns_the_status_and_no_reason(start_closed, keys, tmp_path):
    key = keys.new()
    running = start_closed()
    assert running.client.get("/readyz").json() == {"status": "ready"}
    unready = start_closed(ready=False, repository=tmp_path / "nothing-here")
    for path in ("/healthz", "/docs", "/openapi.json", "/"):
        assert unready.client.get(path).status_code == 200
    answer, told = unready.client.get("/readyz"), unready.client.get("/readyz", headers=key)
    assert (answer.status_code, told.status_code) == (503, 503)
    assert "nothing-here" in told.json()["detail"]
    assert "nothing-here" not in answer.text
    assert answer.headers["retry-after"] == told.headers["retry-after"]
    assert unready.client.get("/readyz", headers={"X-Api-Key": "garbage"}).text.count("nothing-here") == 0


def test_a_key_has_its_rate_and_after_retry_after_there_is_room(start_closed, keys):
    key, other = keys.new(rate=3), keys.new("other")
    running = start_closed()
    codes = [running.client.get("/models", headers=key).status_code for _ in range(4)]
    assert codes == [200, 200, 200, 429]
    answer = running.client.get("/models", headers=key)
    assert slug(answer) == "rate-exceeded"
    assert answer.headers["retry-after"] == "1"
    assert running.client.get("/models", headers=other).status_code == 200
    time.sleep(1)
    assert running.client.get("/models", headers=key).status_code == 200


def test_a_key_has_its_quota_and_what_the_service_refuses_does_not_count(start_closed, keys):
    key, other, scraper = keys.new(quota=2), keys.new("other"), keys.new("scraper", "metrics")
    running = start_closed(max_inflight=1)
    with connect(running) as first:
        first.sendall(head(len(RED), *as_lines(other)))
        wait_until_full(running, scraper)
        assert slug(detect(running, key)) == "overloaded"
        assert slug(detect(running, {**key, "Origin": "http://x"})) == "overloaded"  # from the app itself
        first.sendall(RED)
        assert read_answer(first)[0] == "HTTP/1.1 200 OK"
    assert [detect(running, key).status_code for _ in range(3)] == [200, 200, 429]
    answer = detect(running, key)
    assert slug(answer) == "quota-exceeded"
    assert 0 < int(answer.headers["retry-after"]) <= 86400


def as_lines(headers):
    return [f"{name}: {value}" for name, value in headers.items()]


def wait_until_full(running, scraper):
    """Wait until another request is in flight, besides the one that reads the metrics."""
    end = time.monotonic() + 5
    while "sparsight_inflight_requests 2.0" not in running.client.get("/metrics", headers=scraper).text:
        assert time.monotonic() < end
        time.sleep(0.01)


def test_keys_come_and_go_without_a_restart(start_closed, keys):
    running = start_closed()
    began = time.monotonic()
    key = keys.new()
    while detect(running, key).status_code != 200:
        assert time.monotonic() < began + 5  # a second, and more on a busy machine
        time.sleep(0.05)
    keys._listed.clear()
    keys._write()
    began = time.monotonic()
    while detect(running, key).status_code != 401:
        assert time.monotonic() < began + 5
        time.sleep(0.05)


def test_strangers_take_no_place_and_learn_nothing_about_the_load(start_closed, keys, monkeypatch):
    quick, refuse = [], Doorstep.refuse

    def noted(self, target, headers):
        answer = refuse(self, target, headers)
        quick.append(answer is not None)
        return answer

    monkeypatch.setattr(Doorstep, "refuse", noted)
    key, wrong = keys.new(), keys.new("scraper", "metrics")
    running = start_closed(max_inflight=1)
    with connect(running) as stranger:
        stranger.sendall(head(len(RED)))  # and no body: it would hold the only place
        assert read_answer(stranger)[0] == "HTTP/1.1 401 Unauthorized"
        assert detect(running, key).status_code == 200
    with connect(running) as first:
        first.sendall(head(len(RED), *as_lines(key)))
        wait_until_full(running, wrong)
        for headers, code in ((None, 401), (wrong, 403), ({"X-Api-Key": "garbage"}, 401), (key, 429)):
            quick.clear()
            answer = httpx.post(f"{running.url}/detect", content=RED, headers=headers, trust_env=False)
            assert answer.status_code == code
            assert quick == [code == 429]
            assert ("retry-after" in answer.headers) == (code == 429)
        first.sendall(RED)
        assert read_answer(first)[0] == "HTTP/1.1 200 OK"


def test_who_sends_a_large_body_without_a_key_reads_the_refusal(start_closed):
    running = start_closed()
    answer = running.client.post("/detect", content=bytes(5_000_000))
    assert answer.status_code == 401
    with connect(running) as polite:
        polite.sendall(head(5_000_000, "Expect: 100-continue"))
        assert read_answer(polite)[0] == "HTTP/1.1 401 Unauthorized"  # and no 100 before it


def test_a_browser_may_ask_whether_it_may_send_a_key(start_closed, keys):
    key, origin = keys.new(), "https://app.example"
    running = start_closed(cors_origins=(origin,))
    asked = {"Origin": origin, "Access-Control-Request-Method": "POST"}
    asked["Access-Control-Request-Headers"] = "authorization,x-api-key,content-type"
    preflight = running.client.options("/detect", headers=asked)
    assert preflight.status_code == 200
    allowed = preflight.headers["access-control-allow-headers"].lower()
    assert {"authorization", "x-api-key"} <= set(re.split(", *", allowed))
    for headers, code in ((key, 200), ({}, 401)):
        answer = detect(running, {**headers, "Origin": origin})
        assert answer.status_code == code
        assert answer.headers["access-control-allow-origin"] == origin
    other = running.client.options("/detect", headers=asked | {"Origin": "https://other.example"})
    assert other.status_code == 400
    assert running.client.options("/detect", headers={"Origin": origin}).status_code == 401


def test_without_keys_no_page_may_send_one(start, repository):
    running = start(repository=repository, cors_origins=("https://app.example",))
    asked = {"Origin": "https://app.example", "Access-Control-Request-Method": "POST"}
    asked["Access-Control-Request-Headers"] = "authorization"
    assert running.client.options("/models/reload", headers=asked).status_code == 400


def test_a_token_of_the_issuer_is_accepted_and_others_are_not(start_closed, tmp_path, caplog):
    private = ec.generate_private_key(ec.SECP256R1())
    public = jwt.get_algorithm_by_name("ES256").to_jwk(private.public_key(), as_dict=True)
    (tmp_path / "jwks.json").write_text(json.dumps({"keys": [{**public, "kid": "a"}]}))
    access = AccessSettings(jwks_file=tmp_path / "jwks.json", jwt_issuer="me", jwt_audience="you")
    running = start_closed(access=access)

    def status(**more):
        said = {"iss": "me", "aud": "you", "exp": time.time() + 60, "sub": "line 3", "scope": "detect"} | more
        token = jwt.encode(said, private, "ES256", {"kid": "a"})
        return detect(running, {"Authorization": f"Bearer {token}"}).status_code

    assert status() == 200
    (record,) = answered(caplog)
    assert (record.key, record.key_id) == ("token", "line 3")
    assert status(exp=time.time() - 60) == 401
    assert status(aud="other") == 401
    assert status(scope="metrics") == 403
    assert detect(running, {"X-Api-Key": new_key()}).status_code == 401


def test_a_full_disk_fails_no_request(start_closed, keys):
    key, scraper = keys.new("ops", "admin"), keys.new("scraper", "metrics")
    access = AccessSettings(keys_file=keys.file, audit_file="/dev/full")
    running = start_closed(access=access)
    assert running.client.post("/models/reload", headers=key).status_code == 200
    assert detect(running).status_code == 401
    assert detect(running, key).status_code == 200
    end = time.monotonic() + 5
    while "sparsight_audit_lost_total 2.0" not in running.client.get("/metrics", headers=scraper).text:
        assert time.monotonic() < end
        time.sleep(0.02)


def test_a_websocket_is_refused(start_closed):
    running = start_closed()
    upgrade = {"Connection": "Upgrade", "Upgrade": "websocket", "Sec-WebSocket-Version": "13"}
    upgrade["Sec-WebSocket-Key"] = "dGhlIHNhbXBsZSBub25jZQ=="
    assert running.client.get("/detect", headers=upgrade).status_code in (401, 403)


def test_the_requests_of_each_key_are_counted(start_closed, keys):
    key, scraper, idle = keys.new(), keys.new("scraper", "metrics"), keys.new("idle")
    running = start_closed()
    for _ in range(3):
        detect(running, key)
    detect(running, scraper)
    detect(running, {"X-Api-Key": "garbage"})
    text = running.client.get("/metrics", headers=scraper).text
    lines = dict(line.rsplit(" ", 1) for line in text.splitlines() if line[0] != "#")
    counted = {name: value for name, value in lines.items() if "key_requests" in name}
    assert counted == {
        'sparsight_key_requests_total{key="line-3"}': "3.0",
        'sparsight_key_requests_total{key="scraper"}': "1.0",
        'sparsight_key_requests_total{key="idle"}': "0.0",
    }
    assert lines['sparsight_requests_rejected_total{reason="unauthorized"}'] == "1.0"
    assert lines['sparsight_requests_rejected_total{reason="forbidden"}'] == "1.0"
    assert lines['sparsight_access_file_broken{file="keys"}'] == "0.0"
    assert idle


def test_a_flood_of_strangers_does_not_fill_the_log(start_closed, caplog):
    running = start_closed()
    began = time.monotonic()
    with httpx.Client(base_url=running.url, trust_env=False) as client:
        while time.monotonic() < began + 0.5:
            client.get("/models")
    took_s = time.monotonic() - began
    for event in ("access_refused", "request_answered"):
        logged = [record for record in caplog.records if record.message == event]
        assert 2 <= len(logged) <= took_s * 10 + 1
        assert sum(record.omitted for record in logged) > 0


def test_without_keys_nothing_is_asked_for(repository):
    with serve(repository=repository) as running:
        assert wait_until_ready(running).status_code == 200
        for headers in ({}, {"Authorization": "Bearer garbage"}, {"X-Api-Key": "garbage"}):
            assert detect(running, headers).status_code == 200
            assert running.client.get("/metrics", headers=headers).status_code == 200
            assert "notes" not in running.client.get("/readyz", headers=headers).json()
        assert running.client.post("/models/reload").status_code == 403
