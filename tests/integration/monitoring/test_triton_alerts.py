"""On a real Triton and a real Prometheus, overload and a dead model each fire their own alert."""

import json
import os
import re
import signal
import time
import urllib.request
from concurrent.futures import ThreadPoolExecutor

import pytest

from tests.builders import golden_image, image_bytes
from tests.faults.gateway import wait_until
from tests.integration.monitoring.conftest import start_prometheus, why_no_prometheus
from tests.integration.monitoring.direct_callers import ENSEMBLE, MODEL, ask_triton, calling, copy_starter
from tests.integration.service.conftest import serve, wait_until_ready
from tests.triton_server import start_triton, why_no_triton

WHY_NOT = why_no_prometheus() or why_no_triton()
pytestmark = [pytest.mark.skipif(WHY_NOT is not None, reason=str(WHY_NOT)), pytest.mark.heavy]

QUEUE = 2
ATTEMPTS = 8
FASTER = 30  # five minutes are ten seconds
NMS = f"{MODEL}-nms"
OF_TRITON = {"TritonModelDead", "TritonOverloaded", "TritonQueueLong", "TritonDown"}
BUSY = 'sparsight_backend_errors_total{backend="triton",reason="backend-busy"} > 0'
IMAGE = image_bytes(golden_image())


@pytest.fixture(scope="module")
def repository(tmp_path_factory):
    """Return the starter with one instance, a short queue, and a backend that can be told to be slow."""
    folder = copy_starter(tmp_path_factory.mktemp("repository"))
    config = folder / MODEL / "config.pbtxt"
    text = config.read_text()
    for before, after in (
        ("max_queue_size: 64", f"max_queue_size: {QUEUE}"),
        ("count: 2", "count: 1"),
        ('backend: "openvino"', 'backend: "obedient"'),
    ):
        assert before in text
        text = text.replace(before, after)
    config.unlink()
    config.write_text(text)
    return folder


@pytest.fixture(scope="module")
def triton(repository):
    with start_triton(repository) as server:
        yield server


@pytest.fixture
def slow(repository):
    """Make an inference take 0.3 s."""
    behave(repository, sleep_s=0.3)
    yield
    behave(repository)


def behave(repository, **behaviour):
    partial = repository / MODEL / "behaviour.partial"
    partial.write_text(json.dumps(behaviour))
    partial.replace(repository / MODEL / "behaviour.json")


def kill_processes(triton, model):
    for pid, command in triton._stubs():
        if f"/{model}/" in command:
            os.kill(pid, signal.SIGKILL)


def failures(triton):
    """Return Triton's count of failed requests, by model and reason."""
    with urllib.request.urlopen(triton.metrics_url) as answer:
        text = answer.read().decode()
    row = re.compile(r'nv_inference_request_failure\{model="(.+)",reason="(\w+)",version="1"\} (\S+)')
    return {(model, reason): float(value) for model, reason, value in row.findall(text)}


def at_once(triton, model, **request):
    """Ask several times at once; return how many calls failed, and by how much Triton's counts rose."""
    before = failures(triton)
    with ThreadPoolExecutor(ATTEMPTS) as pool:
        errors = list(pool.map(lambda _: ask_triton(triton.grpc_url, model, **request), range(ATTEMPTS)))
    time.sleep(0.5)  # a caller that hangs up is counted a moment later
    rose = {key: value - before[key] for key, value in failures(triton).items()}
    return sum(map(bool, errors)), {key: by for key, by in rose.items() if by}


# ---- what Triton counts ----


@pytest.mark.usefixtures("slow")
def test_a_full_queue_counts_as_nothing_on_the_model_and_twice_as_other_on_the_ensemble(triton):
    failed, rose = at_once(triton, MODEL)
    assert failed >= ATTEMPTS - QUEUE - 2
    assert not rose
    failed, rose = at_once(triton, ENSEMBLE)
    assert failed >= ATTEMPTS - QUEUE - 2
    assert rose == {(ENSEMBLE, "OTHER"): 2 * failed}


@pytest.mark.usefixtures("slow")
def test_a_request_that_waits_too_long_counts_as_rejected_on_the_model(triton):
    _, rose = at_once(triton, MODEL, timeout=100_000)
    assert set(rose) == {(MODEL, "REJECTED")}


@pytest.mark.usefixtures("slow")
def test_a_caller_that_hangs_up_never_counts_as_a_failure_of_the_backend(triton):
    failed, rose = at_once(triton, ENSEMBLE, client_timeout=0.15)
    assert failed
    assert {reason for _, reason in rose} <= {"OTHER", "CANCELED"}
    # Its answer comes after those that still wait; it is refused while the queue is full.
    assert wait_until(lambda: ask_triton(triton.grpc_url, ENSEMBLE) == "", limit_s=10)


def test_bad_input_counts_as_nothing_or_twice_as_other(triton):
    failed, rose = at_once(triton, ENSEMBLE, columns=400)
    assert (failed, rose) == (ATTEMPTS, {})
    failed, rose = at_once(triton, ENSEMBLE, top_k=9)
    assert (failed, rose) == (ATTEMPTS, {(ENSEMBLE, "OTHER"): 2 * ATTEMPTS})


def test_only_a_dead_process_counts_as_a_failure_of_the_backend(triton):
    kill_processes(triton, NMS)
    _, rose = at_once(triton, ENSEMBLE)
    assert {key for key in rose if key[1] == "BACKEND"} == {(NMS, "BACKEND")}
    triton.unload(NMS)
    triton.load(NMS)
    triton.load(ENSEMBLE)
    assert ask_triton(triton.grpc_url, ENSEMBLE) == ""


# ---- what fires ----


def test_overload_fires_as_overload_then_death_as_death(triton, repository, tmp_path):
    address = triton.metrics_url.removeprefix("http://").removesuffix("/metrics")
    gateway = {"backends": ("triton",), "triton": {"url": triton.grpc_url}, "default_model": "starter"}
    with serve(repository=repository, **gateway) as served:
        assert wait_until_ready(served).status_code == 200
        url = served.url.removeprefix("http://")
        with start_prometheus(tmp_path, faster=FASTER, triton=address, gateway=url) as prometheus:
            prometheus.wait_for('up{job="triton"} == 1')
            behave(repository, sleep_s=0.2)
            with calling(triton.grpc_url, 4, MODEL, ENSEMBLE):
                fired = watch(prometheus, served, 'ALERTS{alertname="TritonOverloaded",alertstate="firing"}')
            assert "TritonModelDead" not in fired
            assert prometheus.query(BUSY)
            assert not prometheus.query(
                f'nv_inference_request_failure{{model="{MODEL}",reason="BACKEND"}} > 0'
            )
            behave(repository)
            prometheus.wait_for('absent(ALERTS{alertname=~"Triton.*"})', within_s=40)

            kill_processes(triton, MODEL)
            with calling(triton.grpc_url, 1, ENSEMBLE):
                fired = watch(prometheus, served, 'ALERTS{alertname="TritonModelDead",alertstate="firing"}')
                time.sleep(12)  # longer than TritonOverloaded waits
                fired |= prometheus.firing() & OF_TRITON
            assert fired == {"TritonModelDead"}
            (dead,) = prometheus.query('ALERTS{alertname="TritonModelDead",alertstate="firing"}')
            assert dead["metric"]["model"] == MODEL
            # Not by its errors: the gateway's own tests may open the breaker before a request fails.
            assert prometheus.query('max_over_time(sparsight_breaker_state{backend="triton"}[30s]) == 2')


def watch(prometheus, served, expression):
    """Send images to the gateway until an expression has a value; return Triton's alerts that fired."""
    fired, end = set(), time.monotonic() + 60
    while not prometheus.query(expression):
        assert time.monotonic() < end, f"no value within 60 s: {expression}"
        served.detect(IMAGE, backend="triton")
        fired |= prometheus.firing() & OF_TRITON
        time.sleep(0.1)
    return fired | prometheus.firing() & OF_TRITON
