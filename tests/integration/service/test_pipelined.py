"""A client that sends several requests at once and leaves ends the one that is being answered."""

import threading
import time

from tests.builders import golden_image, image_bytes
from tests.integration.service.test_doorstep import connect, head

RED = image_bytes(golden_image())


def test_the_first_of_three_requests_ends_with_its_caller(start, repository, monkeypatch, caplog):
    running = start(repository=repository, workers=1)
    begun, may_end = threading.Event(), threading.Event()

    def decode_slowly(*_):
        begun.set()
        may_end.wait(30)

    monkeypatch.setattr("service.serving.stages.decode", decode_slowly)
    with connect(running) as connection:
        connection.sendall((head(len(RED)) + RED) * 3)
        assert begun.wait(10)
    gone, began = 'sparsight_requests_total{code="499",route="/detect"}', time.monotonic()
    while gone not in running.metrics():
        time.sleep(0.02)
        assert time.monotonic() - began < 10
    may_end.set()
    assert running.metrics()["sparsight_inflight_requests"] == 1
    assert "Exception" not in caplog.text
