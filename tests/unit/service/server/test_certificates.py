"""Certificate files that cannot be used are refused, with a sentence that names the file and the fault."""

import datetime
import time

import pytest
import trustme
from cryptography.hazmat.primitives import serialization

from service.errors import SettingsInvalid
from service.guard_settings import TlsSettings
from service.server.certificates import load

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
