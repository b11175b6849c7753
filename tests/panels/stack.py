"""Run the real starter on a real gateway, Triton and Prometheus, under several kinds of traffic."""

import json
import os
import random
import shutil
import tempfile
import threading
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import httpx

from tests.integration.monitoring.conftest import Prometheus, start_prometheus
from tests.integration.monitoring.direct_callers import ENSEMBLE, calling
from tests.integration.service.conftest import Served, serve, wait_until_ready
from tests.threads import in_threads
from tests.triton_server import start_triton, why_no_triton

ROOT = Path(__file__).resolve().parents[2]
SCRAPE_S = 1.0  # slow enough for a gateway that is overloaded on purpose
TOKEN = "only-for-screenshots"
# As many of each data set as there were in the baseline, so that these images do not look like drift.
KNOWN = {"bccd/JPEGImages/*.jpg": 73, "aquarium/valid/images/*.jpg": 127, "playing_cards/train/*.jpg": 74}
STRANGE = {"visdrone_sample/images/*.jpg": 100}


@dataclass(frozen=True)
class Running:
    """A gateway under traffic, and the Prometheus that watches it."""

    prometheus: Prometheus
    start: float  # seconds since 1970


@contextmanager
def running(phase_s: float) -> Iterator[Running]:
    """Run everything; yield after four phases of traffic.

    1. images like those of the validation split, some of them cut off;
    2. more callers than the gateway can answer;
    3. version 2 of the model, which runs one expert by default, takes over;
    4. images that the model was not made for.
    """
    with ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory()))
        repository = folder / "models"
        for source in (ROOT / "model_repository").glob("starter-*"):
            shutil.copytree(source, repository / source.name)
        targets, settings = {}, {"backends": ("openvino",)}
        if why_no_triton() is None:
            triton = stack.enter_context(start_triton(repository))
            targets["triton"] = triton.metrics_url.removeprefix("http://").removesuffix("/metrics")
            settings = {"backends": ("openvino", "triton"), "triton": {"url": triton.grpc_url}}
        gateway = stack.enter_context(
            serve(repository=repository, workers=2, max_queue_s=0.5, admin_token=TOKEN, **settings)
        )
        assert wait_until_ready(gateway).status_code == 200
        targets["gateway"] = gateway.url.removeprefix("http://")
        prometheus = stack.enter_context(start_prometheus(folder, faster=20, scrape_s=SCRAPE_S, **targets))
        prometheus.wait_for('up{job="gateway"} == 1')
        start = time.time()
        if "triton" in targets:
            stack.enter_context(calling(settings["triton"]["url"], 1, ENSEMBLE))
        _let_things_happen(gateway, repository, list(settings["backends"]), phase_s)
        yield Running(prometheus, start)


def _let_things_happen(gateway: Served, repository: Path, backends: Sequence[str], phase_s: float) -> None:
    known, strange = _images(KNOWN), _images(STRANGE)
    with _callers(gateway.url, 2, [*known, known[0][:5000]], backends):
        time.sleep(2 * phase_s)
    with _callers(gateway.url, 24, known, backends[:1]):
        time.sleep(phase_s / 2)
    _add_version_2(repository)
    answer = gateway.client.post("/models/reload", headers={"Authorization": f"Bearer {TOKEN}"})
    assert answer.status_code == 200, answer.text
    with _callers(gateway.url, 2, known, backends):
        time.sleep(phase_s)
    with _callers(gateway.url, 2, strange, backends[:1]):
        time.sleep(phase_s)


def _images(counts: Mapping[str, int]) -> list[bytes]:
    data, rng = Path(os.environ["SPARSIGHT_DATA"]), random.Random(0)
    chosen = []
    for pattern, count in counts.items():
        paths = sorted(data.glob(pattern))
        chosen += rng.sample(paths, min(count, len(paths)))
    rng.shuffle(chosen)
    return [path.read_bytes() for path in chosen]


def _add_version_2(repository: Path) -> None:
    folder = repository / "starter-openvino"
    shutil.copytree(folder / "1", folder / "2")
    path = folder / "2" / "manifest.json"
    manifest = json.loads(path.read_text())
    manifest["version"] = "2"
    (top_k,) = [one for one in manifest["inputs"] if one["name"] == "top_k"]
    top_k["default"] = 1
    path.unlink()
    path.write_text(json.dumps(manifest))


@contextmanager
def _callers(url: str, count: int, images: Sequence[bytes], backends: Sequence[str]) -> Iterator[None]:
    def call(first: int, stop: threading.Event) -> None:
        with httpx.Client(base_url=url, timeout=30, trust_env=False) as client:
            number = first
            while not stop.is_set():
                backend = backends[number % len(backends)]
                client.post("/detect", params={"backend": backend}, content=images[number % len(images)])
                number += count

    with in_threads([partial(call, first) for first in range(count)]):
        yield
