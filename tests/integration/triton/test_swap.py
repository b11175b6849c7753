"""Loading a new version of a model into a real Triton under load fails no request."""

import time
from collections import Counter
from concurrent.futures import ThreadPoolExecutor

import httpx

from tests.builders import build_artifact, golden_image, image_bytes
from tests.integration.service.conftest import serve, wait_until_ready
from tests.triton_server import start_triton
from training.export.triton.config import TritonOptions, write_all_configs

MODEL = "tiny-openvino"
IMAGE = image_bytes(golden_image())
CALLERS = 4


def release(repository, version):
    build_artifact(repository, version=version)
    write_all_configs(repository, TritonOptions(), name="tiny")


def test_versions_are_swapped_under_load_without_a_failed_request(tmp_path):
    release(tmp_path, "1")
    with (
        start_triton(tmp_path, load=[MODEL]) as server,
        serve(backends=("triton",), triton={"url": server.grpc_url, "refresh_s": 0.3}) as gateway,
    ):
        assert wait_until_ready(gateway).status_code == 200
        seen, stop_s = [], time.monotonic() + 60

        def call(_):
            with httpx.Client(base_url=gateway.url, timeout=20, trust_env=False) as client:
                last = 0
                while last < 50 and time.monotonic() < stop_s:  # 50 answers of the last version end it
                    answer = client.post("/detect", content=IMAGE)
                    version = answer.json()["model"]["version"] if answer.status_code == 200 else answer.text
                    seen.append((answer.status_code, version))
                    last += version == "3"

        with ThreadPoolExecutor(CALLERS) as pool:
            callers = [pool.submit(call, i) for i in range(CALLERS)]
            for version in ("2", "3"):  # after the second, version 1 is no longer served
                time.sleep(1.0)
                release(tmp_path, version)
                server.load(MODEL)
            for caller in callers:
                caller.result()
    counts = Counter(seen)
    assert set(counts) == {(200, "1"), (200, "2"), (200, "3")}
    assert counts[200, "3"] >= 50 * CALLERS
