"""What callers notice when a real Triton behind the gateway fails, and how long recovery takes.

`python -m pytest -s tests/integration/triton/test_faults.py` prints the recovery times.
"""

import json
import os
import signal
import threading
import time
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path

import httpx
import pytest

from tests.builders import build_artifact, golden_image, image_bytes
from tests.integration.service.conftest import serve, wait_until_ready
from tests.triton_server import start_triton
from training.export.triton.config import TritonOptions, write_all_configs

MODEL = "tiny-openvino"
BREAKER = {"failures": 3, "probe_interval_s": 0.2, "probe_timeout_s": 0.5}
LEAVE_S = 2.0  # a dead backend must be left within this
IMAGE = image_bytes(golden_image())


@dataclass(frozen=True)
class Seen:
    """One answer under load."""

    at_s: float
    status: int
    duration_s: float
    backend: str | None
    problem: str | None


@dataclass
class Load:
    """Sends requests, one after the other, until told to stop."""

    url: str
    query: dict
    seen: list[Seen] = field(default_factory=list)

    def __post_init__(self):
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._run)

    def __enter__(self):
        self._thread.start()
        return self

    def __exit__(self, *_):
        self._stop.set()
        self._thread.join()

    def _run(self):
        with httpx.Client(base_url=self.url, timeout=20, trust_env=False) as client:
            while not self._stop.is_set():
                self.seen.append(ask(client, **self.query))
                time.sleep(0.01)

    def after(self, start_s):
        return [seen for seen in self.seen if seen.at_s >= start_s]


def ask(client, **query):
    """Send one image."""
    started = time.monotonic()
    answer = client.post("/detect", params=query, content=IMAGE)
    body, duration_s = answer.json(), time.monotonic() - started
    backend = body["model"]["backend"] if answer.status_code == 200 else None
    problem = body["type"].rpartition(":")[2] if answer.status_code != 200 else None
    return Seen(started, answer.status_code, duration_s, backend, problem)


def wait_for(client, wanted, limit_s=20.0, **query):
    """Ask until an answer is as wanted; return how many seconds that took."""
    started = time.monotonic()
    while time.monotonic() - started < limit_s:
        if wanted(ask(client, **query)):
            return time.monotonic() - started
        time.sleep(0.02)
    raise AssertionError(f"not within {limit_s} s")


def by_triton(seen):
    return seen.backend == "triton"


@pytest.fixture
def repository(tmp_path):
    """The tiny model, run by a backend that can be told to be slow."""
    build_artifact(tmp_path / "repository")
    configure(tmp_path / "repository")
    return tmp_path / "repository"


def configure(repository, **options):
    """Write the configuration as the exporter does, and put the backend that obeys in its place."""
    write_all_configs(repository, TritonOptions(**options), name="tiny")
    config = repository / MODEL / "config.pbtxt"
    config.write_text(config.read_text().replace('backend: "openvino"', 'backend: "obedient"'))


def behave(repository, **behaviour):
    """Tell the model how to behave from now on."""
    partial = repository / MODEL / "behaviour.partial"
    partial.write_text(json.dumps(behaviour))
    partial.replace(repository / MODEL / "behaviour.json")


@pytest.fixture
def server(repository):
    with start_triton(repository, load=[MODEL]) as server:
        yield server


@pytest.fixture
def gateway(repository, server):
    """A gateway that prefers Triton and has the same model in process."""
    with gateway_to(server, repository=repository) as served:
        yield served


def gateway_to(server, *, shared_memory=False, breaker=BREAKER, **settings):
    triton = {"url": server.grpc_url, "refresh_s": 0.5, "shared_memory": shared_memory}
    return serve(backends=("triton", "openvino"), triton=triton, breaker=breaker, **settings)


def use_triton(gateway):
    assert wait_until_ready(gateway).status_code == 200
    wait_for(gateway.client, by_triton, backend="auto")


@pytest.mark.parametrize(
    "fault", ["model process killed", "server killed", "server paused", "model unloaded"]
)
def test_a_dead_backend_is_left_at_once_and_used_again_when_it_is_well(fault, server, gateway):
    break_it, mend_it = {
        "model process killed": (lambda: kill_stubs(server), lambda: load_anew(server)),
        "server killed": (server.kill, server.restart),
        "server paused": (server.pause, server.resume),
        "model unloaded": (lambda: server.unload(MODEL), lambda: server.load(MODEL)),
    }[fault]
    use_triton(gateway)
    query = {"backend": "auto", "timeout_ms": 5000}
    with Load(gateway.url, query) as auto, Load(gateway.url, query | {"backend": "triton"}) as pinned:
        time.sleep(0.3)
        broken_s = time.monotonic()
        break_it()
        left_s = wait_for(gateway.client, lambda seen: seen.backend == "openvino", backend="auto")
        told = ask(gateway.client, **query | {"backend": "triton"})
        time.sleep(1.0)
        mended_s = time.monotonic()
        mend_it()
        live_s = time.monotonic() - mended_s
        back_s = wait_for(gateway.client, lambda seen: by_triton(seen) or server.has_ended, backend="auto")
        if server.has_ended:  # whoever supervises it starts it again
            server.kill()
            server.restart()
            back_s = wait_for(gateway.client, by_triton, backend="auto")
        well_s = time.monotonic()
        time.sleep(0.3)
    answers = Counter((seen.status, seen.problem) for seen in pinned.after(broken_s))
    slowest = max(seen.duration_s for seen in (*auto.seen, *pinned.seen))
    print(
        f"\n{fault}: left after {left_s:.2f} s; mending took {live_s:.2f} s, "
        f"used again {back_s:.2f} s later; pinned callers saw {dict(answers)}; slowest answer {slowest:.2f} s"
    )
    assert {seen.status for seen in auto.seen} == {200}, "whoever leaves the choice to us sees no fault"
    assert left_s <= LEAVE_S
    assert slowest < 5, "nothing may hang"
    assert set(answers) <= {(200, None), (503, "backend-unavailable"), (504, "deadline-exceeded")}
    assert (told.status, told.problem) == (503, "backend-unavailable")
    assert told.duration_s < 1, "nobody waits for a backend that is known to be dead"
    assert back_s <= LEAVE_S
    assert {seen.backend for seen in auto.after(well_s)} == {"triton"}


def load_anew(server):
    """Load alone would not do: the files have not changed, so Triton keeps its dead process."""
    server.unload(MODEL)
    server.load(MODEL)


def kill_stubs(server):
    for pid in server.stub_pids():
        os.kill(pid, signal.SIGKILL)


def test_readiness_stays_true_while_the_model_process_is_dead(server, gateway):
    use_triton(gateway)
    kill_stubs(server)
    wait_for(gateway.client, lambda seen: seen.status == 503, backend="triton")
    ready = httpx.get(f"http://{server.http_url}/v2/models/{MODEL}/ready", trust_env=False)
    assert ready.status_code == 200, "the trap this is about: Triton says it is well"


def test_a_fault_without_traffic_is_noticed_too(server, gateway):
    use_triton(gateway)
    kill_stubs(server)
    time.sleep(LEAVE_S)
    first = ask(gateway.client, backend="auto")
    assert (first.status, first.backend) == (200, "openvino")
    assert gateway.metrics()['sparsight_backend_up{backend="triton"}'] == 0


def test_a_version_that_is_not_there_is_not_found(gateway):
    use_triton(gateway)
    seen = ask(gateway.client, backend="triton", version=7)
    assert (seen.status, seen.problem) == (404, "unknown-version")


def test_a_full_queue_is_told_and_never_retried(repository):
    configure(repository, instances=1, max_queue=2, queue_timeout_s=30.0)
    with (
        start_triton(repository, load=[MODEL]) as server,
        gateway_to(server, repository=repository, breaker={"probe_timeout_s": 20}) as gateway,
    ):
        use_triton(gateway)
        before = gateway.metrics()
        behave(repository, sleep_s=1.0)
        with ThreadPoolExecutor(12) as pool, httpx.Client(base_url=gateway.url, timeout=20) as client:
            answers = list(pool.map(lambda _: ask(client, backend="auto"), range(12)))
        behave(repository)
        after = gateway.metrics()
        assert {(seen.status, seen.problem) for seen in answers} == {(200, None), (429, "backend-busy")}
        assert {seen.backend for seen in answers if seen.status == 200} == {"triton"}
        rejected = [seen for seen in answers if seen.status == 429]
        assert max(seen.duration_s for seen in rejected) < 0.9, "a refusal does not wait for the queue"
        reason = 'sparsight_requests_rejected_total{reason="backend-busy"}'
        assert after[reason] - before[reason] == len(rejected)
        assert after['sparsight_breaker_state{backend="triton",model="tiny"}'] == 0, "full is not dead"
        wait_for(gateway.client, by_triton, backend="triton")


def test_a_slow_model_ends_at_the_callers_deadline(repository, gateway):
    use_triton(gateway)
    behave(repository, sleep_s=3.0)
    seen = ask(gateway.client, backend="triton", timeout_ms=300)
    behave(repository)
    assert (seen.status, seen.problem) == (504, "deadline-exceeded")
    assert 0.3 <= seen.duration_s < 1.0
    wait_for(gateway.client, by_triton, backend="auto")


def test_a_caller_that_leaves_takes_its_work_along(repository, gateway):
    use_triton(gateway)
    behave(repository, sleep_s=2.0)
    with pytest.raises(httpx.ReadTimeout):
        httpx.post(f"{gateway.url}/detect?backend=triton", content=IMAGE, timeout=0.3, trust_env=False)
    left_s = time.monotonic()
    while not (repository / MODEL / "cancelled").exists():
        assert time.monotonic() - left_s < 1.5, "the server was not told"
        time.sleep(0.02)
    behave(repository)
    print(f"\ncaller left: the model stopped working {time.monotonic() - left_s:.2f} s later")
    wait_for(gateway.client, by_triton, backend="auto")
    series = gateway.metrics()
    assert series["sparsight_inflight_requests"] == 1  # the question itself
    assert series['sparsight_requests_total{code="499",route="/detect"}'] == 1


def test_shared_memory_survives_a_restart_of_the_server_and_is_cleaned_up(repository, server):
    dead = Path("/dev/shm/sparsight-999999999-0")  # no process has this id
    dead.write_bytes(b"left by a gateway that was killed")
    mine = f"sparsight-{os.getpid()}-*"
    with gateway_to(server, repository=repository, shared_memory=True) as gateway:
        use_triton(gateway)
        assert not dead.exists()
        assert list(Path("/dev/shm").glob(mine))
        server.kill()
        wait_for(gateway.client, lambda seen: seen.status == 503, backend="triton")
        server.restart()
        back_s = wait_for(gateway.client, by_triton, backend="auto")
        print(f"\nshared memory: registered again {back_s:.2f} s after the restart")
        behave(repository, sleep_s=1.0)
        assert ask(gateway.client, backend="triton", timeout_ms=100).status == 504
        behave(repository)
        wait_for(gateway.client, by_triton, backend="auto")
    assert not list(Path("/dev/shm").glob(mine))
