"""The service on the servers of `python -m service`, but in a thread: with TLS, or with two ports."""

import socket
import ssl
import threading
from contextlib import contextmanager
from dataclasses import dataclass

import httpx
import trustme

from service.app import create_app
from service.server.server import server_of
from service.settings import Settings
from tests.integration.service.conftest import Served, wait_until_ready

GET = b"GET /healthz HTTP/1.1\r\nHost: x\r\n\r\n"


@dataclass(frozen=True)
class Listening(Served):
    """A running service with TLS, an admin port, or both."""

    port: int
    admin: httpx.Client | None
    context: ssl.SSLContext | None  # of a client that trusts the service

    def connect(self, context=None):
        """Return a connection; encrypted if the service encrypts, or with `context`."""
        plain = socket.create_connection(("127.0.0.1", self.port), timeout=10)
        context = context or self.context
        return plain if context is None else context.wrap_socket(plain, server_hostname="localhost")

    def connect_plain(self):
        return socket.create_connection(("127.0.0.1", self.port), timeout=10)


class Files:
    """Certificate files of a service, signed by a CA of our own."""

    def __init__(self, folder, ca):
        self.cert, self.key = folder / "server.pem", folder / "server.key"
        self.ca = ca

    def write(self, issued):
        self.cert.write_bytes(b"".join(blob.bytes() for blob in issued.cert_chain_pems))
        self.key.write_bytes(issued.private_key_pem.bytes())

    def issue(self, **validity):
        issued = self.ca.issue_cert("localhost", "127.0.0.1", **validity)
        self.write(issued)
        return issued

    def settings(self, **more):
        return {"cert": self.cert, "key": self.key, **more}


def trusting(ca: trustme.CA, shown=None) -> ssl.SSLContext:
    """Return the context of a client that trusts `ca`, and shows the certificate `shown`."""
    context = ssl.create_default_context()
    ca.configure_trust(context)
    if shown is not None:
        shown.configure_cert(context)
    return context


def _bound():
    listener = socket.socket()
    listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    listener.bind(("127.0.0.1", 0))
    return listener


@contextmanager
def listen(context=None, max_connections=1000, **settings):
    """Run the service in a thread; `context` is that of a client, if the service encrypts."""
    loaded = threading.Event()
    app = create_app(Settings(**settings), on_loaded=lambda _: loaded.set())
    main, beside = _bound(), _bound() if "admin_port" in settings else None
    port, scheme = main.getsockname()[1], "http" if context is None else "https"
    admin_port = None if beside is None else beside.getsockname()[1]
    server = server_of(app, app.state.service.settings, max_connections, beside)
    thread = threading.Thread(target=server.run, kwargs={"sockets": [main]})
    thread.start()
    assert loaded.wait(30)
    options = {"timeout": 20, "trust_env": False, "verify": context or True}
    try:
        with (
            httpx.Client(base_url=f"{scheme}://localhost:{port}", **options) as client,
            httpx.Client(base_url=f"{scheme}://localhost:{admin_port or port}", **options) as admin,
        ):
            running = Listening(str(client.base_url), client, app, port, admin if beside else None, context)
            wait_until_ready(Served(str(client.base_url), admin if beside else client, app))
            yield running
    finally:
        server.should_exit = True
        thread.join()
