"""The chart's closed gateway as a real process: keys, client certificates, and a port for the operator."""

import os
import ssl
import subprocess
import sys
import time
from dataclasses import dataclass

import httpx
import pytest
import trustme

from service.access.keys import as_text
from tests.access.running import keys_of_every_kind
from tests.builders import build_artifact, golden_image, image_bytes
from tests.chart import CHART, ROOT, Container, container, render, values_of
from tests.cluster.haproxy import free_port
from tests.helm import why_no_helm

pytestmark = pytest.mark.skipif(why_no_helm() is not None, reason=str(why_no_helm()))

SECRETS = "/etc/sparsight"


@dataclass(frozen=True)
class Closed:
    """A gateway with the chart's settings, and what its callers need."""

    given: Container
    ports: dict[str, int]
    keys: dict[str, str]  # by scope
    server: trustme.CA

    def ask(self, port, path, key=None, certificate=None, **request):
        """Return the status of an answer; None if the connection is refused."""
        context = ssl.create_default_context()
        self.server.configure_trust(context)
        if certificate is not None:
            certificate.configure_cert(context)
        headers = {"Authorization": f"Bearer {self.keys[key]}"} if key else {}
        method = "POST" if request else "GET"
        with httpx.Client(verify=context, trust_env=False, timeout=20) as client:
            try:
                return client.request(
                    method, f"https://127.0.0.1:{self.ports[port]}{path}", headers=headers, **request
                ).status_code
            except httpx.TransportError:
                return None


@pytest.fixture(scope="module")
def callers():
    return trustme.CA(organization_name="callers")


@pytest.fixture(scope="module")
def server_ca():
    return trustme.CA()


@pytest.fixture(scope="module")
def gateway(tmp_path_factory, callers, server_ca):
    """Return the ports of a gateway that got the chart's Secrets as files, and keys by scope."""
    folder = tmp_path_factory.mktemp("closed")
    values = values_of(CHART / "ci" / "closed.yaml")
    values["layout"] = "alone"
    values["gateway"]["access"].pop("jwksFile")
    values["gateway"]["settings"].pop("access")
    given = container(render(values), "gateway")
    texts, keys = keys_of_every_kind()
    for name in ("access", "tls"):
        (folder / name).mkdir()
    (folder / "access" / "keys.json").write_text(as_text(keys))
    certificate = server_ca.issue_cert("127.0.0.1")
    certificate.private_key_pem.write_to_path(folder / "tls" / "tls.key")
    certificate.cert_chain_pems[0].write_to_path(folder / "tls" / "tls.crt")
    callers.cert_pem.write_to_path(folder / "tls" / "ca.crt")
    build_artifact(folder / "models", name="tiny")
    ports = {name: free_port() for name in ("http", "admin")}
    env = {name: value.replace(SECRETS, str(folder)) for name, value in given.env.items()}
    env |= {
        "SPARSIGHT_HOST": "127.0.0.1",
        "SPARSIGHT_ADMIN_HOST": "127.0.0.1",
        "SPARSIGHT_PORT": str(ports["http"]),
        "SPARSIGHT_ADMIN_PORT": str(ports["admin"]),
        "SPARSIGHT_REPOSITORY": str(folder / "models"),
    }
    kept = {name: value for name, value in os.environ.items() if not name.startswith("SPARSIGHT_")}
    process = subprocess.Popen([sys.executable, *given.command[1:]], cwd=ROOT, env=kept | env)
    closed = Closed(given, ports, texts, server_ca)
    try:
        end = time.monotonic() + 60
        while closed.ask("admin", given.probes["readiness"].path) != httpx.codes.OK:
            assert process.poll() is None
            assert time.monotonic() < end
            time.sleep(0.1)
        yield closed
    finally:
        process.terminate()
        process.wait(timeout=60)


def test_the_probes_succeed_without_a_key_or_a_certificate(gateway):
    for probe in gateway.given.probes.values():
        assert (probe.port, probe.scheme) == (gateway.given.ports["admin"], "HTTPS")
        assert gateway.ask("admin", probe.path) == httpx.codes.OK


def test_a_caller_needs_a_certificate_and_a_key(gateway, callers):
    red, own = image_bytes(golden_image()), callers.issue_cert("caller")
    assert gateway.ask("http", "/detect", "detect", content=red) is None
    assert gateway.ask("http", "/detect", "detect", gateway.server.issue_cert("a"), content=red) is None
    assert gateway.ask("http", "/detect", None, own, content=red) == httpx.codes.UNAUTHORIZED
    assert gateway.ask("http", "/detect", "metrics", own, content=red) == httpx.codes.FORBIDDEN
    assert gateway.ask("http", "/detect", "detect", own, content=red) == httpx.codes.OK


def test_prometheus_needs_the_key_that_the_monitor_names_and_finds_metrics_on_the_admin_port(
    gateway, callers
):
    assert gateway.ask("admin", "/metrics") == httpx.codes.UNAUTHORIZED
    assert gateway.ask("admin", "/metrics", "metrics") == httpx.codes.OK
    assert gateway.ask("http", "/metrics", "admin", callers.issue_cert("a")) == httpx.codes.NOT_FOUND
