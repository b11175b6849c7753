"""The operator's routes on a port of their own, in a real process."""

import os
import re
import resource
import signal
import socket
import subprocess
import sys
import threading
import time
from contextlib import contextmanager
from pathlib import Path

import httpx
import pytest
import trustme

from service.access.table import RULES
from tests.builders import golden_image, image_bytes
from tests.integration.service.guards.ports import Files, listen, trusting
from tests.integration.service.test_doorstep import head, read_answer
from tests.integration.service.test_process import command, fails

RED = image_bytes(golden_image())
OPERATORS = {path for path, rule in RULES.items() if rule.place == "operator"}
TOKEN = "t" * 16


@contextmanager
def process(context=None, **environment):
    """Run the service with two ports; yield the process, and clients for the main and the admin port."""
    wanted = {"PORT": 0, "SPARSIGHT_ADMIN_PORT": 0, **environment}
    with subprocess.Popen(**command(**wanted)) as running:
        try:
            said = []
            while "ready: open" not in (said or [""])[-1]:
                said.append(running.stderr.readline())
                assert said[-1]
            admin = next(line for line in said if "operator's routes" in line).split()[-1]
            options = {"trust_env": False, "verify": context or True}
            threading.Thread(target=running.stderr.read, daemon=True).start()
            with (
                httpx.Client(base_url=said[-1].split()[-1], **options) as main,
                httpx.Client(base_url=admin, **options) as operator,
            ):
                yield running, main, operator
        finally:
            running.terminate()
            running.wait(timeout=30)


@pytest.fixture(scope="module")
def two_ports(repository):
    with process(SPARSIGHT_REPOSITORY=repository, SPARSIGHT_ADMIN_TOKEN=TOKEN) as (_, main, operator):
        yield main, operator


def told(answer):
    """Return an answer without what differs from one answer to the next."""
    headers = {name: value for name, value in answer.headers.items() if name not in {"date", "x-request-id"}}
    return answer.status_code, headers, {**answer.json(), "id": None}


@pytest.mark.parametrize("method", ["GET", "POST", "DELETE"])
@pytest.mark.parametrize("slash", ["", "/"])
@pytest.mark.parametrize("path", sorted(OPERATORS))
def test_on_the_main_port_the_operators_routes_do_not_exist(two_ports, path, slash, method):
    main, _ = two_ports
    token = {"Authorization": f"Bearer {TOKEN}"}
    answer = told(main.request(method, path + slash, headers=token))
    other = "/" + "x" * (len(path + slash) - 1)
    status, headers, problem = told(main.request(method, other, headers=token))
    problem["detail"] = problem["detail"].replace(other, path + slash)
    assert answer == (status, headers, problem)
    assert status == 404


def test_the_description_of_the_main_port_leaves_them_out(two_ports, served):
    main, _ = two_ports
    shown, whole = main.get("/openapi.json").json(), served.client.get("/openapi.json").json()
    assert whole["paths"].keys() - shown["paths"].keys() == OPERATORS
    left_out = whole["components"]["schemas"].keys() - shown["components"]["schemas"].keys()
    audits = {"Report", "edBackend", "Reference", "Difference", "Disagreement", "Suspect"}
    routing = {"RoutingReport", "RoutingEvent", "VersionRouting", "SettingUse", "LayerUse", "ExpertUse"}
    novel = {"NovelImages", "Summary"}
    assert left_out == {"ReloadReport", *(f"Audit{name}" for name in audits), *routing, *novel}


def test_the_admin_port_has_the_operators_routes_and_the_probes_alone(two_ports):
    main, operator = two_ports
    token = {"Authorization": f"Bearer {TOKEN}"}
    assert operator.post("/models/reload", headers=token).json() == {"loaded": [], "removed": []}
    assert operator.get("/audits", headers=token).json() == {"share": 0.0, "backends": []}
    assert operator.post("/models/reload").status_code == 401
    for one in (main, operator):
        assert one.get("/healthz").json() == {"status": "ok"}
        assert one.get("/readyz").json()["status"] == "ready"
        assert one.head("/healthz").status_code == 200
    for path in ("/", "/docs", "/openapi.json", "/models", "/models/tiny/example", "/ui/app.js", "/other"):
        assert operator.get(path).status_code == 404
    for path in ("/detect", "/v1/detect/batch", "/preview"):
        assert operator.post(path, content=RED).status_code == 404
    assert main.post("/detect", content=RED).status_code == 200


def test_requests_of_both_ports_have_ids_and_are_counted(two_ports):
    _, operator = two_ports
    answer = operator.get("/metrics", headers={"X-Request-Id": "mine"})
    assert answer.headers["x-request-id"] == "mine"
    assert answer.headers["x-content-type-options"] == "nosniff"
    assert 'sparsight_requests_total{code="200",route="/metrics"}' in operator.get("/metrics").text


def test_while_it_stops_the_admin_port_answers_until_the_main_port_has_ended(repository):
    admin = {"SPARSIGHT_ADMIN_TOKEN": TOKEN}
    with process(SPARSIGHT_REPOSITORY=repository, **admin) as (running, main, operator):
        address = (main.base_url.host, main.base_url.port)
        with socket.create_connection(address, timeout=10) as connection:
            connection.sendall(head(len(RED)) + RED[:10])
            while "sparsight_inflight_requests 2.0" not in operator.get("/metrics").text:
                time.sleep(0.02)
            running.send_signal(signal.SIGTERM)
            time.sleep(0.5)
            assert operator.get("/healthz").status_code == 200
            assert operator.get("/readyz").status_code == 503
            token = {"Authorization": f"Bearer {TOKEN}"}
            assert operator.post("/models/reload", headers=token).status_code == 503
            assert "sparsight_inflight_requests 2.0" in operator.get("/metrics").text
            with pytest.raises(ConnectionRefusedError):
                socket.create_connection(address, timeout=10)
            connection.sendall(RED[10:])
            assert read_answer(connection)[0] == "HTTP/1.1 200 OK"
        assert running.wait(timeout=10) == 0
        with pytest.raises(httpx.ConnectError):
            operator.get("/healthz")


def test_an_overloaded_service_answers_on_the_admin_port(repository):
    with (
        listen(repository=repository, admin_port=0, max_inflight=1, max_connections=3) as running,
        running.connect() as first,
    ):
        first.sendall(head(len(RED)))
        while "sparsight_inflight_requests 2.0" not in running.admin.get("/metrics").text:
            time.sleep(0.02)
        assert running.admin.post("/detect", content=RED).status_code == 404  # not a 429
        with running.connect(), running.connect():
            assert running.admin.get("/healthz").status_code == 200


def test_connections_beyond_the_limit_are_refused_until_others_end(repository):
    with listen(repository=repository, admin_port=0, max_connections=3) as running:

        def count():
            metrics = running.admin.get("/metrics").text
            return int(re.search(r"\nsparsight_open_connections (\d+)", metrics).group(1))

        open_ones = [running.connect() for _ in range(3)]
        while count() != 3:
            time.sleep(0.01)
        with running.connect() as further:
            first, headers, problem = read_answer(further)
            assert first == "HTTP/1.1 503 Service Unavailable"
            assert (headers["connection"], headers["retry-after"]) == ("close", "1")
            assert "SPARSIGHT_MAX_CONNECTIONS" in problem["detail"]
            assert further.recv(100) == b""
        open_ones[0].sendall(b"GET /healthz HTTP/1.1\r\nHost: x\r\n\r\n")
        assert read_answer(open_ones[0])[0] == "HTTP/1.1 200 OK"  # those served are still served
        open_ones.pop().close()
        while count() != 2:
            time.sleep(0.01)
        with running.connect() as further:
            further.sendall(b"GET /healthz HTTP/1.1\r\nHost: x\r\n\r\n")
            assert read_answer(further)[0] == "HTTP/1.1 200 OK"
        for one in open_ones:
            one.close()


@pytest.mark.skipif(sys.platform != "linux", reason="limits the files of another process")
@pytest.mark.parametrize("encrypts", [False, True])
def test_without_descriptors_it_waits_and_recovers(repository, tmp_path, encrypts):
    context, tls = None, {}
    if encrypts:
        ca = trustme.CA()
        files = Files(tmp_path, ca)
        files.issue()
        context = trusting(ca)
        tls = {"SPARSIGHT_TLS__CERT": files.cert, "SPARSIGHT_TLS__KEY": files.key}
    with process(context, SPARSIGHT_REPOSITORY=repository, **tls) as (running, main, operator):
        open_files = len(list(Path(f"/proc/{running.pid}/fd").iterdir()))
        _, hard = resource.prlimit(running.pid, resource.RLIMIT_NOFILE)
        resource.prlimit(running.pid, resource.RLIMIT_NOFILE, (open_files + 4, hard))
        address = (main.base_url.host, main.base_url.port)
        connections = [socket.create_connection(address, timeout=10) for _ in range(20)]
        time.sleep(0.2)
        before = processor_s(running)
        time.sleep(1)
        assert processor_s(running) - before < 0.3  # it does not try again and again
        for connection in connections:
            connection.close()
        time.sleep(0.5)
        assert main.get("/healthz").status_code == 200
        assert operator.get("/healthz").status_code == 200


def processor_s(running):
    """Return the seconds of processor time that a process has used."""
    fields = Path(f"/proc/{running.pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def test_a_certificate_that_is_not_there_is_one_sentence(tmp_path):
    missing = {"SPARSIGHT_TLS__CERT": tmp_path / "a.pem", "SPARSIGHT_TLS__KEY": tmp_path / "a.key"}
    fails(2, "a.pem cannot be read: No such file or directory", PORT=0, **missing)


def test_an_admin_port_in_use_is_one_sentence(repository):
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]
        words = f"cannot listen on 127.0.0.1:{port}: Address already in use; set SPARSIGHT_ADMIN_HOST or"
        fails(1, words, SPARSIGHT_REPOSITORY=repository, PORT=0, SPARSIGHT_ADMIN_PORT=port)
