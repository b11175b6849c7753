"""Certificate files that cannot be used are refused, with a sentence that names the file and the fault."""

import asyncio
import datetime
import os
import time

import pytest
import trustme
from cryptography.hazmat.primitives import serialization
from prometheus_client import CollectorRegistry

from service.errors import SettingsInvalid
from service.guard_settings import TlsSettings
from service.metrics import Metrics
from service.server import certificates
from service.server.certificates import Certificates, load

NOW = datetime.datetime.now(datetime.UTC)


@pytest.fixture(scope="module")
def ca():
    return trustme.CA()


@pytest.fixture
def write(ca, tmp_path):
    """Return a function that writes a certificate and a key, and returns the settings that name them."""

    def write_files(cert=None, key=None, **validity):
        issued = ca.issue_cert("localhost", **validity)
        named = {"cert": tmp_path / "a.crt", "key": tmp_path / "a.key"}
        chain = b"".join(blob.bytes() for blob in issued.cert_chain_pems)
        named["cert"].write_bytes(chain if cert is None else cert)
        named["key"].write_bytes(issued.private_key_pem.bytes() if key is None else key)
        return named

    return write_files


def refusal(**files):
    with pytest.raises(SettingsInvalid) as caught:
        load(TlsSettings(**files))
    return str(caught.value)


def test_a_sound_pair_says_when_it_expires(write):
    expires = NOW + datetime.timedelta(days=3)
    pair = load(TlsSettings(**write(not_after=expires)))
    assert pair.expires_s == int(expires.timestamp())


def test_a_certificate_is_good_until_the_second_in_which_it_expires(write):
    expires = datetime.datetime.now(datetime.UTC) + datetime.timedelta(seconds=2)
    files = write(not_after=expires)
    load(TlsSettings(**files))
    time.sleep(3.1)
    assert refusal(**files) == f"SPARSIGHT_TLS__CERT: {files['cert']} has expired"


def test_a_certificate_of_tomorrow_is_refused(write):
    files = write(not_before=NOW + datetime.timedelta(days=1), not_after=NOW + datetime.timedelta(days=2))
    assert "a.crt is not valid yet; is the clock of this machine right?" in refusal(**files)


def test_a_file_that_is_not_there_is_named(write, tmp_path):
    files = write()
    missing = tmp_path / "missing"
    for name in ("cert", "key", "client_ca"):
        said = refusal(**files | {name: missing})
        assert said == f"SPARSIGHT_TLS__{name.upper()}: {missing} cannot be read: No such file or directory"


def test_a_key_of_another_certificate_is_refused(write, ca):
    other = ca.issue_cert("localhost").private_key_pem.bytes()
    files = write(key=other)
    assert refusal(**files) == (
        f"SPARSIGHT_TLS__KEY: {files['key']} is not the key of the certificate in {files['cert']}"
    )


def test_an_encrypted_key_is_refused_without_asking_for_a_passphrase(write, ca):
    issued = ca.issue_cert("localhost")
    key = serialization.load_pem_private_key(issued.private_key_pem.bytes(), None).private_bytes(
        serialization.Encoding.PEM,
        serialization.PrivateFormat.PKCS8,
        serialization.BestAvailableEncryption(b"secret"),
    )
    chain = b"".join(blob.bytes() for blob in issued.cert_chain_pems)
    assert "a.key is encrypted; write it without a passphrase" in refusal(**write(chain, key))


@pytest.mark.parametrize("content", [b"", b"text", bytes(100)])
def test_a_file_that_is_no_pem_is_refused(write, content):
    assert "a.crt is no PEM file with a certificate" in refusal(**write(cert=content))
    assert "a.key is no PEM file with a private key" in refusal(**write(key=content))
    files = write()
    files["client_ca"] = files["cert"].with_name("ca.pem")
    files["client_ca"].write_bytes(content)
    assert "ca.pem is no PEM file with a certificate" in refusal(**files)


def test_a_damaged_certificate_is_refused(write):
    files = write()
    lines = files["cert"].read_bytes().splitlines(keepends=True)
    files["cert"].write_bytes(b"".join([*lines[:3], *lines[6:]]))
    assert "a.crt cannot be used with its key" in refusal(**files)


def until_followed(files, monkeypatch, change):
    """Follow `files`, call `change`, and return the pair that is in force when another one is."""
    monkeypatch.setattr(certificates, "_LOOK_EVERY_S", 0.02)

    async def run():
        followed = Certificates(TlsSettings(**files), Metrics(CollectorRegistry()))
        first, task = followed.pair, asyncio.create_task(followed.follow())
        await asyncio.sleep(0.05)
        change()
        async with asyncio.timeout(10):
            while followed.pair is first:
                assert not task.done()
                await asyncio.sleep(0.01)
        task.cancel()
        return first, followed.pair

    return asyncio.run(run())


def test_a_change_is_noticed_though_size_and_time_stay(write, monkeypatch):
    files = write(not_after=NOW + datetime.timedelta(days=3))

    def change():
        before = {path: path.stat() for path in files.values()}
        write(not_after=NOW + datetime.timedelta(days=4))
        for path, facts in before.items():
            # Spaces at the end change nothing, and the sizes of signatures differ by a few bytes.
            size = max(facts.st_size, path.stat().st_size)
            path.write_bytes(path.read_bytes().ljust(size))
            os.utime(path, ns=(facts.st_atime_ns, facts.st_mtime_ns))

    first, second = until_followed(files, monkeypatch, change)
    assert second.expires_s == first.expires_s + 86400


def test_it_goes_on_to_look_after_a_defect(write, monkeypatch, caplog):
    files = write()
    loads = []

    def load_later(settings):
        loads.append(settings)
        if len(loads) == 1:
            raise RuntimeError("can't start new thread")
        return load(settings)

    def change():
        monkeypatch.setattr(certificates, "load", load_later)
        write(not_after=NOW + datetime.timedelta(days=4))

    until_followed(files, monkeypatch, change)
    assert "certificate_watch_failed" in caplog.text


def test_what_was_read_first_is_not_used_last(write, monkeypatch):
    followed = Certificates(TlsSettings(**write()), Metrics(CollectorRegistry()))
    pairs = iter([(0.2, "first"), (0.0, "second")])

    def load_slowly(settings):
        wait_s, name = next(pairs)
        time.sleep(wait_s)
        return certificates.Pair(name, name, 1.0)

    monkeypatch.setattr(certificates, "load", load_slowly)

    async def run():
        await asyncio.gather(followed.renew(), followed.renew())

    asyncio.run(run())
    assert followed.pair.of_callers == "second"
