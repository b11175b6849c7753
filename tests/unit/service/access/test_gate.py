"""The gate knows who sends a request, and follows its files."""

import asyncio
import json
import os
import time
from datetime import UTC, datetime, timedelta

import jwt
import pytest
from cryptography.hazmat.primitives.asymmetric import ec
from prometheus_client import CollectorRegistry

from service.access.gate import Gate
from service.access.keys import Key, as_text, hash_of, new_key
from service.access_errors import Forbidden, RateExceeded, Unauthorized
from service.errors import AccessFileInvalid
from service.guard_settings import AccessSettings
from service.metrics import Metrics
from service.settings import Settings

TOKEN = "the operator's own words"


@pytest.fixture
def metrics():
    return Metrics(CollectorRegistry())


@pytest.fixture
def file(tmp_path):
    return tmp_path / "keys.json"


def listed(text, name="line-3", **more):
    return Key(name=name, sha256=hash_of(text.encode()), **({"scopes": ("detect",)} | more))


@pytest.fixture
def gate_of(file, metrics):
    """Return a function that gives a gate for some keys."""

    def gate(*keys, **settings):
        file.write_text(as_text(list(keys)))
        return Gate(Settings(access=AccessSettings(keys_file=file), **settings), metrics)

    return gate


def bearer(text):
    return [(b"authorization", b"Bearer " + text.encode())]


def why(gate, headers, path="/detect"):
    with pytest.raises(Unauthorized) as refused:
        gate.check(path, headers)
    return refused.value.why


def test_without_files_the_gate_is_off(metrics):
    assert not Gate(Settings(admin_token=TOKEN), metrics).is_on


def test_a_key_is_sent_in_one_of_two_headers(gate_of):
    text = new_key()
    gate = gate_of(listed(text))
    sent = text.encode()
    for headers in (
        [(b"authorization", b"Bearer " + sent)],
        [(b"authorization", b"bearer   " + sent + b" ")],
        [(b"x-api-key", sent)],
        [(b"x-api-key", sent), (b"authorization", b"Basic dXNlcjpwYXNz")],  # of a proxy on the way
    ):
        assert gate.check("/detect", headers).name == "line-3"


@pytest.mark.parametrize(
    ("headers", "reason"),
    [
        ([], "missing"),
        ([(b"authorization", b"")], "missing"),
        ([(b"authorization", b"KEY")], "missing"),
        ([(b"authorization", b"BearerKEY")], "missing"),
        ([(b"authorization", b"Basic KEY")], "missing"),
        ([(b"authorization", b"Bearer ")], "unknown"),
        ([(b"x-api-key", b"")], "unknown"),
        ([(b"x-api-key", b"KEYx")], "unknown"),
        ([(b"x-api-key", b"\xff\x00")], "unknown"),
        ([(b"x-api-key", b"k" * 8193)], "unknown"),
        ([(b"x-api-key", b"HASH")], "unknown"),
        ([(b"x-api-key", b"KEY"), (b"x-api-key", b"KEY")], "unclear"),
        ([(b"x-api-key", b"KEY"), (b"authorization", b"Bearer KEY")], "unclear"),
        ([(b"authorization", b"Bearer KEY"), (b"authorization", b"Bearer KEY")], "unclear"),
        ([(b"cookie", b"KEY"), (b"x-forwarded-authorization", b"Bearer KEY")], "missing"),
    ],
)
def test_other_headers_are_no_key(gate_of, headers, reason):
    text = new_key()
    gate = gate_of(listed(text))
    words = {b"KEY": text.encode(), b"HASH": hash_of(text.encode()).encode()}
    for word, value in words.items():
        headers = [(name, sent.replace(word, value)) for name, sent in headers]
    assert why(gate, headers) == reason


def test_a_key_is_for_its_scopes_and_admin_for_everything(gate_of):
    scopes = ("detect", "metrics", "admin")
    texts = {scope: new_key() for scope in scopes}
    gate = gate_of(*(listed(text, scope, scopes=(scope,)) for scope, text in texts.items()))
    addresses = {"detect": "/detect", "metrics": "/metrics", "admin": "/not/in/the/table"}
    for scope, text in texts.items():
        for need, path in addresses.items():
            if scope in (need, "admin"):
                assert gate.check(path, bearer(text)).name == scope
            else:
                with pytest.raises(Forbidden) as refused:
                    gate.check(path, bearer(text))
                assert refused.value.key[0] == scope
                assert ("no such address" in str(refused.value)) == (need == "admin")


def test_open_addresses_ask_for_nothing(gate_of):
    gate = gate_of()
    for headers in ([], bearer("garbage"), bearer("a") * 2):
        assert gate.check("/healthz", headers) is None


def test_the_administrators_token_is_a_key(gate_of):
    gate = gate_of(admin_token=TOKEN)
    assert gate.check("/models/reload", bearer(TOKEN)).name == "admin-token"
    assert why(gate, bearer(TOKEN + "x"), "/models/reload") == "unknown"


def test_a_key_ends_when_it_says(gate_of):
    soon, past, gone = new_key(), new_key(), new_key()
    now = datetime.now(UTC)
    gate = gate_of(
        listed(soon, expires=now + timedelta(seconds=0.3)),
        listed(past, "past", expires=now),
        listed(gone, "gone", revoked=now),
    )
    assert why(gate, bearer(past)) == "expired"
    assert why(gate, bearer(gone)) == "revoked"
    assert gate.check("/detect", bearer(soon))
    time.sleep(0.31)
    assert why(gate, bearer(soon)) == "expired"


def test_a_changed_file_is_read_and_what_was_used_stays_used(gate_of, file, metrics):
    first, second = new_key(), new_key()
    gate = gate_of(listed(first, rate=2))
    caller = gate.check("/detect", bearer(first))
    caller.allowance.take()
    caller.allowance.take()
    file.write_text(as_text([listed(first, rate=2), listed(second, "new")]))
    asyncio.run(gate.read_again(only_changed=True))
    assert gate.check("/detect", bearer(second)).name == "new"
    with pytest.raises(RateExceeded):
        gate.check("/detect", bearer(first)).allowance.take()
    file.write_text(as_text([listed(second, "new")]))
    asyncio.run(gate.read_again(only_changed=True))
    assert why(gate, bearer(first)) == "unknown"
    assert samples(metrics, "sparsight_key_requests_total") == {"new": 0}


@pytest.mark.parametrize("broken", ["", "{", '{"keys": [{}]}', None])
def test_a_broken_file_keeps_the_old_keys(gate_of, file, metrics, caplog, broken):
    text = new_key()
    gate = gate_of(listed(text))
    good = file.read_text()
    file.unlink() if broken is None else file.write_text(broken)
    asyncio.run(gate.read_again(only_changed=True))
    assert gate.check("/detect", bearer(text))
    assert samples(metrics, "sparsight_access_file_broken") == {"keys": 1}
    assert [record.message for record in caplog.records] == ["access_file_broken"]
    file.write_text(good)
    asyncio.run(gate.read_again(only_changed=True))
    assert samples(metrics, "sparsight_access_file_broken") == {"keys": 0}


def test_a_file_that_stays_the_same_is_not_read(gate_of, caplog):
    gate = gate_of(listed(new_key()))
    asyncio.run(gate.read_again(only_changed=True))
    assert caplog.records == []
    asyncio.run(gate.read_again())
    assert [record.message for record in caplog.records] == ["access_file_read"]


def test_a_change_is_noticed_though_size_and_time_stay(gate_of, file):
    text, other = new_key(), new_key()
    gate = gate_of(listed(text))
    before = file.stat()
    file.write_text(as_text([listed(other)]))
    os.utime(file, ns=(before.st_atime_ns, before.st_mtime_ns))
    assert file.stat().st_size == before.st_size
    asyncio.run(gate.read_again(only_changed=True))
    assert gate.check("/detect", bearer(other)).name == "line-3"
    assert why(gate, bearer(text)) == "unknown"


def test_a_change_that_could_not_be_read_for_want_of_a_thread_is_read_later(gate_of, file, monkeypatch):
    text = new_key()
    gate = gate_of(listed(text))
    file.write_text(as_text([listed(text, revoked=datetime.now(UTC))]))
    to_thread = asyncio.to_thread

    def without_threads(function, *given):
        if function.__name__ == "_read_keys":
            raise RuntimeError("can't start new thread")
        return to_thread(function, *given)

    with monkeypatch.context() as patch:
        patch.setattr(asyncio, "to_thread", without_threads)
        with pytest.raises(RuntimeError, match="thread"):
            asyncio.run(gate.read_again(only_changed=True))
    assert gate.check("/detect", bearer(text)).name == "line-3"
    asyncio.run(gate.read_again(only_changed=True))
    assert why(gate, bearer(text)) == "revoked"


@pytest.mark.parametrize("broken", ["", None])
def test_a_gate_does_not_start_open(file, metrics, broken):
    if broken is not None:
        file.write_text(broken)
    with pytest.raises(AccessFileInvalid):
        Gate(Settings(access=AccessSettings(keys_file=file)), metrics)


def test_tokens_are_accepted_beside_keys_and_their_file_is_followed(tmp_path, metrics):
    text, keys_file, jwks_file = new_key(), tmp_path / "keys.json", tmp_path / "jwks.json"
    keys_file.write_text(as_text([listed(text)]))
    old, new = (ec.generate_private_key(ec.SECP256R1()) for _ in range(2))

    def publish(key):
        described = jwt.get_algorithm_by_name("ES256").to_jwk(key.public_key(), as_dict=True)
        jwks_file.write_text(json.dumps({"keys": [{**described, "kid": "a"}]}))

    def sign(key, **more):
        said = {"iss": "me", "aud": "you", "exp": time.time() + 60, "sub": "someone", "scope": "detect"}
        return jwt.encode(said | more, key, "ES256", {"kid": "a"})

    publish(old)
    access = AccessSettings(keys_file=keys_file, jwks_file=jwks_file, jwt_issuer="me", jwt_audience="you")
    gate = Gate(Settings(access=access), metrics)
    caller = gate.check("/detect", bearer(sign(old)))
    assert (caller.name, caller.id, caller.allowance) == ("token", "someone", None)
    assert gate.check("/detect", bearer(text)).name == "line-3"
    with pytest.raises(Forbidden):
        gate.check("/metrics", bearer(sign(old)))
    assert why(gate, bearer(sign(new))) == "invalid-token"
    dotted = Gate(Settings(access=access, admin_token="the.operator's.words"), Metrics(CollectorRegistry()))
    assert dotted.check("/metrics", bearer("the.operator's.words")).name == "admin-token"
    publish(new)
    asyncio.run(gate.read_again(only_changed=True))
    assert gate.check("/detect", bearer(sign(new)))
    assert why(gate, bearer(sign(old))) == "invalid-token"
    assert samples(metrics, "sparsight_key_requests_total") == {"line-3": 0, "token": 0}


def samples(metrics, name):
    """Return the values of a series by its only label."""
    found = {}
    for family in metrics.registry.collect():
        for sample in family.samples:
            if sample.name == name:
                (label,) = sample.labels.values()
                found[label] = sample.value
    return found
