"""Histograms lead to traces: OpenMetrics has exemplars, and a real Prometheus reads and returns them."""

import shutil
import subprocess
import time
from contextlib import contextmanager

import httpx
import pytest
import yaml
from prometheus_client.openmetrics.parser import text_string_to_metric_families

from tests.builders import golden_image, image_bytes
from tests.load.services import free_port

RED = image_bytes(golden_image())
OPEN = "application/openmetrics-text"
# What Prometheus 2.42 sends.
OF_PROMETHEUS = f"{OPEN};version=1.0.0,{OPEN};version=0.0.1;q=0.75,text/plain;version=0.0.4;q=0.5,*/*;q=0.1"


@pytest.fixture
def traced(start, repository, monkeypatch):
    monkeypatch.setenv("OTEL_TRACES_EXPORTER", "none")  # the ids are enough here
    return start(repository=repository, tracing=True)


def trace_id_of(answer):
    return answer.headers["traceparent"].split("-")[1]


def exemplars_of(running):
    """Return the trace ids at each histogram, by its name and its stage or route."""
    text = running.client.get("/metrics", headers={"Accept": OF_PROMETHEUS}).text
    return {
        (sample.name, sample.labels.get("stage") or sample.labels["route"]): sample.exemplar.labels
        for family in text_string_to_metric_families(text)
        for sample in family.samples
        if sample.exemplar
    }


@pytest.mark.parametrize("accept", [OF_PROMETHEUS, OPEN, f"text/plain, {OPEN.upper()};version=x"])
def test_a_scraper_that_asks_for_openmetrics_gets_it(served, accept):
    answer = served.client.get("/metrics", headers={"Accept": accept})
    assert answer.headers["content-type"].startswith(f"{OPEN}; version=1.0.0")
    assert answer.text.endswith("# EOF\n")
    names = {family.name for family in text_string_to_metric_families(answer.text)}
    assert {"sparsight_requests", "sparsight_stage_duration_seconds", "sparsight_model_info"} <= names


@pytest.mark.parametrize("accept", ["*/*", "text/plain", "text/plain;version=0.0.4", ""])
def test_everybody_else_gets_plain_text(served, accept):
    answer = served.client.get("/metrics", headers={"Accept": accept})
    assert answer.headers["content-type"] == "text/plain; version=1.0.0; charset=utf-8"
    assert "# EOF" not in answer.text


def test_both_forms_have_the_same_series(served):
    plain = served.client.get("/metrics").text
    found = served.client.get("/metrics", headers={"Accept": OPEN}).text
    series = [
        {line.rpartition(" ")[0] for line in text.splitlines() if line[0] != "#"} for text in (plain, found)
    ]
    assert len(series[0]) > 100
    assert series[0] == series[1]


def test_the_durations_of_a_request_and_of_its_stages_name_its_trace(traced):
    answer = traced.client.post("/detect", content=RED)
    found = exemplars_of(traced)
    of_it = {key for key, labels in found.items() if labels == {"trace_id": trace_id_of(answer)}}
    durations = {("sparsight_request_duration_seconds_bucket", "/detect")}
    stages = ("decode", "queue", "preprocess", "infer", "postprocess")
    assert of_it == durations | {("sparsight_stage_duration_seconds_bucket", stage) for stage in stages}


def test_a_request_that_is_not_sampled_is_no_exemplar(start, repository, monkeypatch):
    monkeypatch.setenv("OTEL_TRACES_EXPORTER", "none")
    monkeypatch.setenv("OTEL_TRACES_SAMPLER", "always_off")
    running = start(repository=repository, tracing=True)
    assert running.detect(RED).status_code == 200
    assert exemplars_of(running) == {}


@contextmanager
def prometheus(folder, target):
    if not shutil.which("prometheus"):
        pytest.skip(
            "prometheus is not installed (Debian: apt-get install --no-install-recommends prometheus)"
        )
    port = free_port()
    job = {"job_name": "gateway", "static_configs": [{"targets": [target]}], "scrape_interval": "500ms"}
    config = folder / "prometheus.yml"
    config.write_text(yaml.safe_dump({"scrape_configs": [{**job, "scrape_timeout": "500ms"}]}))
    command = ["prometheus", f"--config.file={config}", f"--web.listen-address=127.0.0.1:{port}"]
    command += [f"--storage.tsdb.path={folder / 'data'}", "--enable-feature=exemplar-storage"]
    with (folder / "log").open("wb") as log:
        process = subprocess.Popen(command, stdout=log, stderr=log)
    try:
        with httpx.Client(base_url=f"http://127.0.0.1:{port}", timeout=20, trust_env=False) as client:
            yield client
    finally:
        process.terminate()
        process.wait(timeout=20)


def read_exemplars(client, query):
    try:
        answer = client.get(
            "/api/v1/query_exemplars", params={"query": query, "start": 0, "end": time.time() + 5}
        )
    except httpx.TransportError:  # it has not begun yet
        return []
    return answer.json().get("data", []) if answer.status_code == 200 else []


@pytest.mark.heavy
def test_a_real_prometheus_finds_the_trace_of_a_slow_request(traced, tmp_path):
    answer = traced.client.post("/detect", content=RED)
    with prometheus(tmp_path, traced.url.removeprefix("http://")) as client:
        query, end = 'sparsight_request_duration_seconds_bucket{route="/detect"}', time.monotonic() + 30
        while not (found := read_exemplars(client, query)):
            assert time.monotonic() < end, (tmp_path / "log").read_text()[-2000:]
            time.sleep(0.2)
        up = client.get("/api/v1/query", params={"query": "up"}).json()["data"]["result"]
    assert [row["value"][1] for row in up] == ["1"]
    exemplars = [one["labels"] for series in found for one in series["exemplars"]]
    assert {"trace_id": trace_id_of(answer)} in exemplars
