"""Run a soak: parts of mixed requests, each followed by a sample of the service at rest."""

import asyncio
import json
import os
import random
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TextIO

from service.access.keys import Key, as_text, hash_of
from tests.builders import build_artifact, build_classifier
from tests.load.costs import ROOT, wait_until_ready
from tests.load.services import free_port
from tests.load.soak.asks import KEY, SLOW_KEY, Ask, burst_ask, drawing_ask, every_ask
from tests.load.soak.callers import Answers, send_all
from tests.load.soak.samples import Folders, Sample, take
from tests.shaped_models import build_shaped
from tests.triton_server import TritonServer
from training.export.triton.config import TritonOptions, write_all_configs

STARTER = "starter"
MODELS = {"tiny": "detect", "colours": "classify", "segment": "segment", "pose": "pose", "obb": "obb"}
IN_TRITON = tuple(f"{name}-openvino" for name in (STARTER, "tiny", "colours"))
RENEWED = "tiny-openvino"
SETTINGS = {
    "SPARSIGHT_BACKENDS": "openvino,onnx",
    "SPARSIGHT_DEFAULT_MODEL": "tiny",
    "SPARSIGHT_MAX_PIXELS": "15000000",
    "SPARSIGHT_MAX_BODY_BYTES": "24000000",
    "SPARSIGHT_BODY_TIMEOUT_S": "5",
    "SPARSIGHT_CORS_ORIGINS": "https://app.example",
    # Each thread keeps some freed pieces of memory of each size, which the C library counts as in use. Until
    # all are filled, that would look like a leak of 1 to 2 MB for each 100,000 requests.
    "GLIBC_TUNABLES": "glibc.malloc.tcache_count=0",
}
BURST = 150  # callers at the same moment: more than twice the requests that may be in flight
DRAWN = 16  # at the same moment: more than the service has threads for drawing
RESTART_EVERY = 5  # parts, of Triton


@dataclass(frozen=True)
class Place:
    """Where a soak runs: its models, a newer version of one of them, and folders for files."""

    repository: Path
    newer: Path
    folders: Folders  # of the service
    results: Path
    keys: Path  # file with the keys of the callers


def build_place(scratch: Path, results: Path) -> Place:
    """Write the models: the starter, and a small one for each task."""
    repository = scratch / "models"
    for folder in (ROOT / "model_repository").glob(f"{STARTER}-*"):
        shutil.copytree(folder, repository / folder.name)
    build_artifact(repository)
    build_classifier(repository)
    build_shaped(repository)
    write_all_configs(repository, TritonOptions(), name="tiny")
    write_all_configs(repository, TritonOptions(), name="colours")
    newer = build_artifact(scratch / "newer", version="2").folder
    folders = Folders(scratch / "temporary", scratch / "used.json")
    folders.temporary.mkdir()
    results.mkdir(parents=True, exist_ok=True)
    return Place(repository, newer, folders, results, scratch / "keys.json")


@contextmanager
def running(
    command: Sequence[str], place: Place, triton: TritonServer | None
) -> Iterator[tuple[subprocess.Popen[bytes], int]]:
    """Run the service until the block ends; yield its process and its port."""
    port = free_port()
    settings = {**SETTINGS, "SPARSIGHT_REPOSITORY": str(place.repository)}
    settings |= {"HOST": "127.0.0.1", "PORT": str(port), "TMPDIR": str(place.folders.temporary)}
    settings["SOAK_USED"] = str(place.folders.used)
    settings["SPARSIGHT_ACCESS__KEYS_FILE"] = str(place.keys)
    settings["SPARSIGHT_ACCESS__AUDIT_FILE"] = str(place.results / "audit.jsonl")
    write_keys(place.keys, 0)
    if triton is not None:
        settings |= {"SPARSIGHT_BACKENDS": "triton,openvino,onnx", "SPARSIGHT_TRITON__URL": triton.grpc_url}
        settings |= {"SPARSIGHT_TRITON__SHARED_MEMORY": "true"}
    with (place.results / "service.log").open("wb") as log:
        process = subprocess.Popen(command, cwd=ROOT, env=_environment(settings), stdout=log, stderr=log)
    try:
        wait_until_ready(f"http://127.0.0.1:{port}", process)
        yield process, port
    finally:
        process.terminate()
        process.wait(timeout=60)


def write_keys(file: Path, number: int) -> None:
    """Write the keys of the callers, and one that is new each time."""
    keys = [
        Key(name="soak", sha256=hash_of(KEY.encode()), scopes=("detect", "metrics")),
        Key(name="slow", sha256=hash_of(SLOW_KEY.encode()), scopes=("detect",), rate=1, quota=1000),
        Key(name=f"caller-{number}", sha256=hash_of(str(number).encode()), scopes=("detect",)),
    ]
    beside = file.with_suffix(".new")
    beside.write_text(as_text(keys))
    beside.replace(file)


def _environment(settings: Mapping[str, str]) -> dict[str, str]:
    plain = {name: value for name, value in os.environ.items() if not name.startswith("SPARSIGHT_")}
    return {**plain, **settings}


class Soak:
    """A soak of one service."""

    def __init__(self, pid: int, port: int, place: Place, triton: TritonServer | None) -> None:
        self._pid, self._port = pid, port
        self._place, self._triton = place, triton
        self._began_s = time.monotonic()
        self.answers = Answers()
        self.samples: list[Sample] = []

    async def run(self, requests: int, every: int, callers: int) -> None:
        """Send the requests in parts; take a sample before the first and after each, and write it."""
        asks = every_ask(MODELS, STARTER)
        burst = [burst_ask(STARTER)] * min(BURST, every // 2)
        chance, shares = random.Random(0), [ask.share for ask in asks]
        # OpenCV keeps 6 MB for each thread that has written text. Threads start one by one, when several
        # images are drawn at once, so that each would look like a leak.
        await send_all(self._port, [drawing_ask()] * DRAWN, 0, DRAWN, self.answers)
        with (self._place.results / "samples.jsonl").open("w") as file:
            self._sample(0, file)
            for part, first in enumerate(range(0, requests, every)):
                chosen = chance.choices(asks, shares, k=every - len(burst))
                await self._part(part, first, chosen, burst, callers)
                self._sample(first + every, file)

    async def _part(
        self, part: int, first: int, chosen: Sequence[Ask], burst: Sequence[Ask], callers: int
    ) -> None:
        half = len(chosen) // 2
        await send_all(self._port, chosen[:half], first, callers, self.answers)
        change = asyncio.create_task(asyncio.to_thread(self._change, part))  # while requests arrive
        await send_all(self._port, burst, first + half, len(burst), self.answers)
        await send_all(self._port, chosen[half:], first + half + len(burst), callers, self.answers)
        await change

    def _change(self, part: int) -> None:
        """Let a version of a model appear or go, and make the service look; now and then restart Triton."""
        version = self._place.repository / RENEWED / "2"
        if version.exists():
            shutil.rmtree(version)
        else:
            shutil.copytree(self._place.newer, version)
        if self._triton is not None:
            if part % RESTART_EVERY == RESTART_EVERY - 1:
                self._triton.stop()  # kills it, and removes its shared memory
                self._triton.restart()
            self._triton.load(RENEWED)
        write_keys(self._place.keys, part)
        os.kill(self._pid, signal.SIGHUP)

    def _sample(self, requests: int, file: TextIO) -> None:
        url = f"http://127.0.0.1:{self._port}"
        sample = take(self._pid, url, self._place.folders, requests, self._began_s, self._triton)
        self.samples.append(sample)
        file.write(json.dumps(asdict(sample)) + "\n")
        file.flush()
        print(
            f"{requests:7} requests, {sample.seconds:5.0f} s: {sample.used_mb:.2f} MB used,"
            f" {sample.own_mb:.0f} of its own, {sample.rss_mb:.0f} RSS; {sample.threads} threads,"
            f" {sample.descriptors} descriptors, {sample.shared_files} shared, {sample.series} series",
            file=sys.stderr,
            flush=True,
        )
