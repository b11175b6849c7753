"""Over TLS, the service behaves as without it: refusals, limits, answers to clients that misbehave."""

import json
import re
import socket
import ssl
import time

import pytest
import trustme
from cryptography import x509

from clients.command import main
from service.server import handshake, protocol
from tests.builders import golden_image, image_bytes
from tests.integration.service.guards.ports import GET, Files, listen, trusting
from tests.integration.service.test_doorstep import head, read_answer

RED = image_bytes(golden_image())


@pytest.fixture(scope="module")
def ca():
    return trustme.CA()


@pytest.fixture
def files(ca, tmp_path):
    written = Files(tmp_path, ca)
    written.issue()
    return written


@pytest.fixture
def photo(tmp_path):
    path = tmp_path / "red.png"
    path.write_bytes(RED)
    return path


@pytest.fixture
def encrypted(ca, files, repository, caplog):
    with listen(trusting(ca), repository=repository, tls=files.settings(), workers=1) as running:
        yield running
    assert "Traceback" not in caplog.text
    assert "Exception" not in caplog.text


def closed(connection):
    """Return whether the service has closed a connection, and sent nothing."""
    try:
        return connection.recv(100) == b""
    except (ConnectionResetError, ssl.SSLError):
        return True


def answers(running, context):
    """Return whether the service answers a client with `context`."""
    try:
        with running.connect(context) as connection:
            connection.sendall(GET)
            return connection.recv(100).startswith(b"HTTP/1.1 200 OK")
    except (ConnectionError, ssl.SSLError):
        return False


def failures(caplog):
    """Return the reasons that the log gives for failed handshakes."""
    return [line.why for line in caplog.records if line.message == "handshake_failed"]


def until(is_true, limit_s=10.0):
    began = time.monotonic()
    while not is_true():
        assert time.monotonic() - began < limit_s
        time.sleep(0.02)


def test_it_answers_and_asks_browsers_to_encrypt(encrypted, served):
    answer = encrypted.detect(RED)
    assert answer.status_code == 200
    assert answer.headers["strict-transport-security"] == "max-age=86400"
    assert "strict-transport-security" not in served.detect(RED).headers


@pytest.mark.parametrize(("version", "accepted"), [("TLSv1_1", False), ("TLSv1_2", True), ("TLSv1_3", True)])
@pytest.mark.filterwarnings("ignore:ssl.TLSVersion.TLSv1_1")
def test_it_takes_tls_1_2_and_newer(encrypted, ca, version, accepted):
    context = trusting(ca)
    context.minimum_version = context.maximum_version = ssl.TLSVersion[version]
    context.set_ciphers("ALL:@SECLEVEL=0")  # so that it is the service that refuses
    try:
        with encrypted.connect(context) as connection:
            assert connection.version() == version.replace("_", ".")
    except ssl.SSLError:
        assert not accepted
    else:
        assert accepted


@pytest.mark.parametrize(("size", "status"), [(20_000_000, 415), (20_000_001, 413)])
def test_a_body_may_be_as_large_as_the_limit(encrypted, size, status):
    assert encrypted.detect(b"\1\0" + bytes(size - 2)).status_code == status


def test_an_image_is_refused_from_the_head(ca, files, repository):
    with (
        listen(trusting(ca), repository=repository, tls=files.settings(), max_inflight=1) as running,
        running.connect() as first,
        running.connect() as second,
    ):
        first.sendall(head(len(RED)))
        until(lambda: running.metrics()["sparsight_inflight_requests"] == 2)
        second.sendall(head(300_000))
        assert read_answer(second)[0].startswith("HTTP/1.1 429")
        second.sendall(bytes(300_000))
        first.sendall(RED)
        assert read_answer(first)[0] == "HTTP/1.1 200 OK"
        second.sendall(head(len(RED)) + RED)
        assert read_answer(second)[0] == "HTTP/1.1 200 OK"


def test_a_client_that_does_not_read_its_answers_keeps_no_place(encrypted, monkeypatch):
    monkeypatch.setattr(protocol, "UNREAD_S", 1.0)
    with encrypted.connect() as connection:
        connection.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        connection.sendall(b"GET /openapi.json HTTP/1.1\r\nHost: x\r\n\r\n" * 400)
        until(lambda: encrypted.metrics()["sparsight_inflight_requests"] == 2)
        until(lambda: encrypted.metrics()["sparsight_inflight_requests"] == 1, 15)


def test_a_client_that_leaves_without_a_word_is_no_defect(encrypted):
    for sent in (b"", GET[:10], GET, head(100_000) + bytes(1000)):
        with encrypted.connect() as connection:
            connection.sendall(sent)
            if sent == GET:
                read_answer(connection)
            # closed as TCP, without the message with which TLS ends
    until(lambda: encrypted.metrics()["sparsight_open_connections"] == 1)
    assert encrypted.detect(RED).status_code == 200


def test_plain_http_on_this_port_is_one_line_in_the_log(encrypted, caplog):
    with encrypted.connect_plain() as connection:
        connection.sendall(GET)
        assert closed(connection)
    until(lambda: "handshake_failed" in caplog.text)
    (line,) = [record for record in caplog.records if record.message == "handshake_failed"]
    assert (line.client, line.levelname) == ("127.0.0.1", "INFO")
    assert line.why == "the client does not encrypt; it must ask for https://"
    assert encrypted.metrics()['sparsight_refused_connections_total{reason="tls"}'] == 1


@pytest.mark.parametrize("sent", [b"", b"\x16\x03\x01\x02\x00\x01"], ids=["nothing", "a part of it"])
def test_a_handshake_that_does_not_end_is_ended(encrypted, monkeypatch, caplog, sent):
    monkeypatch.setattr(handshake, "HANDSHAKE_S", 0.5)
    with encrypted.connect_plain() as connection:
        began = time.monotonic()
        connection.sendall(sent)
        assert closed(connection)
        assert 0.4 < time.monotonic() - began < 3
    until(lambda: failures(caplog) == ["it took longer than 0.5 s"])


def test_a_handshake_that_ends_in_time_is_fine(encrypted, monkeypatch):
    monkeypatch.setattr(handshake, "HANDSHAKE_S", 1.5)
    with encrypted.connect_plain() as plain:
        time.sleep(0.9)
        with encrypted.context.wrap_socket(plain, server_hostname="localhost") as connection:
            time.sleep(0.9)  # the limit does not hold for what follows
            connection.sendall(GET)
            assert read_answer(connection)[0] == "HTTP/1.1 200 OK"


def test_connections_that_are_not_yet_encrypted_count_and_free_their_place(ca, files, repository):
    tls = files.settings()
    with listen(trusting(ca), 4, repository=repository, tls=tls, admin_port=0) as running:
        open_now = "sparsight_open_connections"
        waiting = [running.connect_plain() for _ in range(4)]
        until(lambda: running.admin.get("/metrics").text.count(f"\n{open_now} 4.0\n") == 1)
        for _ in range(3):
            with running.connect_plain() as further:
                assert closed(further)
        refused = re.search(
            r'refused_connections_total{reason="too-many"} (\S+)', running.admin.get("/metrics").text
        )
        assert refused.group(1) == "3.0"
        waiting.pop().close()
        until(lambda: f"\n{open_now} 3.0\n" in running.admin.get("/metrics").text)
        with running.connect() as connection:
            connection.sendall(GET)
            assert read_answer(connection)[0] == "HTTP/1.1 200 OK"
        for one in waiting:
            one.close()


# ---- certificates of callers -------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("shown", "why"),
    [
        ("none", "the client has no certificate"),
        ("of another", "the client's certificate: unable to get local issuer certificate"),
        ("good", None),
    ],
)
def test_with_a_client_ca_callers_need_its_certificate(ca, files, repository, tmp_path, caplog, shown, why):
    callers, others = trustme.CA(organization_name="callers"), trustme.CA(organization_name="others")
    path = tmp_path / "callers.pem"
    callers.cert_pem.write_to_path(path)
    issuer = {"none": None, "of another": others, "good": callers}[shown]
    context = trusting(ca, issuer and issuer.issue_cert("caller@example"))
    good = trusting(ca, callers.issue_cert("operator@example"))
    tls = files.settings(client_ca=path)
    with listen(good, repository=repository, tls=tls, admin_port=0) as running:
        assert answers(running, context) == (why is None)
        if why is not None:
            until(lambda: failures(caplog) == [why])


def test_the_client_shows_its_certificate(ca, files, repository, tmp_path, capsys, photo):
    callers = trustme.CA(organization_name="callers")
    mine = callers.issue_cert("caller@example")
    names = {name: tmp_path / f"{name}.pem" for name in ("ca", "cert", "key", "callers")}
    ca.cert_pem.write_to_path(names["ca"])
    callers.cert_pem.write_to_path(names["callers"])
    mine.cert_chain_pems[0].write_to_path(names["cert"])
    mine.private_key_pem.write_to_path(names["key"])
    tls = files.settings(client_ca=names["callers"])
    with listen(trusting(ca, mine), repository=repository, tls=tls) as running:
        asks = [
            "detect",
            str(photo),
            "--url",
            f"https://localhost:{running.port}",
            "--json",
            "--ca",
            str(names["ca"]),
        ]
        assert main([*asks, "--cert", str(names["cert"]), "--key", str(names["key"])]) == 0
        assert json.loads(capsys.readouterr().out)["model"]["name"] == "tiny"
        assert main(asks) == 1  # without its certificate
        assert "Traceback" not in capsys.readouterr().err
        assert main(asks[:-2]) == 1  # without the CA that signed the gateway's certificate
        assert "give the CA of its certificate" in capsys.readouterr().err


def test_on_the_admin_port_nobody_needs_a_certificate(ca, files, repository, tmp_path):
    callers = trustme.CA(organization_name="callers")
    path = tmp_path / "callers.pem"
    callers.cert_pem.write_to_path(path)
    tls = files.settings(client_ca=path)
    with listen(trusting(ca), repository=repository, tls=tls, admin_port=0) as running:
        assert running.admin.get("/readyz").status_code == 200
        assert running.admin.get("/metrics").status_code == 200
        assert not answers(running, running.context)


# ---- renewed files -----------------------------------------------------------------------------------


def serial(running):
    with running.connect() as connection:
        return int(connection.getpeercert()["serialNumber"], 16)


def number(pem):
    return x509.load_pem_x509_certificate(pem.read_bytes()).serial_number


def test_renewed_files_are_taken_over_and_broken_ones_are_not(encrypted, files, ca, caplog):
    expiry = "sparsight_certificate_expiry_timestamp_seconds"
    old, old_expiry = number(files.cert), encrypted.metrics()[expiry]
    with encrypted.connect() as before:
        assert serial(encrypted) == old
        files.key.write_bytes(ca.issue_cert("localhost").private_key_pem.bytes())
        until(lambda: "certificate_refused" in caplog.text)
        assert serial(encrypted) == old
        files.issue()
        new = number(files.cert)
        until(lambda: serial(encrypted) == new)
        before.sendall(GET)
        assert read_answer(before)[0] == "HTTP/1.1 200 OK"
    refused = [line for line in caplog.records if line.message == "certificate_refused"]
    assert [line.levelname for line in refused] == ["ERROR"]  # once, although the files are looked at again
    assert "is not the key of the certificate" in refused[0].why
    assert encrypted.metrics()[expiry] >= old_expiry > time.time()
