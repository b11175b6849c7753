"""The real service on a free loopback port, with the tiny model."""

import threading
import time
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass

import httpx
import pytest
import uvicorn
from fastapi import FastAPI

from service.app import create_app
from service.server.protocol import DoorProtocol
from service.settings import Settings
from tests.builders import build_artifact


@dataclass(frozen=True)
class Served:
    """A running service."""

    url: str
    client: httpx.Client
    app: FastAPI

    def detect(self, data, **query):
        return self.client.post("/detect", params=query, content=data)

    def metrics(self):
        """Return the value of every metric series, by its name with labels."""
        lines = self.client.get("/metrics").text.splitlines()
        return {name: float(value) for name, value in (x.rsplit(" ", 1) for x in lines if x[0] != "#")}


@contextmanager
def serve(**settings):
    """Run the service in a thread; models may still be loading when this returns."""
    app = create_app(Settings(port=0, **settings))
    config = uvicorn.Config(
        app, http=DoorProtocol, host="127.0.0.1", port=0, log_config=None, proxy_headers=False
    )
    server = uvicorn.Server(config)
    thread = threading.Thread(target=server.run)
    thread.start()
    while not server.started:
        time.sleep(0.01)
    url = f"http://127.0.0.1:{server.servers[0].sockets[0].getsockname()[1]}"
    try:
        with httpx.Client(base_url=url, timeout=20, trust_env=False) as client:
            yield Served(url, client, app)
    finally:
        server.should_exit = True
        thread.join()


def wait_until_ready(served):
    """Return the answer of /readyz once the service is ready, or reports that it cannot become ready."""
    for _ in range(400):
        answer = served.client.get("/readyz")
        waiting = "being loaded" in answer.text or "there is no model" in answer.text
        if answer.status_code == 200 or not waiting:
            return answer
        time.sleep(0.02)
    raise TimeoutError(answer.text)


@pytest.fixture(scope="session")
def repository(tmp_path_factory):
    return build_artifact(tmp_path_factory.mktemp("served")).repository


@pytest.fixture(scope="session")
def served(repository):
    with serve(repository=repository) as running:
        assert wait_until_ready(running).status_code == 200
        yield running


@pytest.fixture
def start():
    """Return a function that starts a service with given settings; the service runs until the test ends."""
    with ExitStack() as stack:

        def start_one(**settings):
            running = stack.enter_context(serve(**settings))
            wait_until_ready(running)
            return running

        yield start_one
