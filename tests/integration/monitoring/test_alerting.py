"""Faults of a real gateway reach the right receiver, through Prometheus and Alertmanager."""

import os
import signal
import threading
import time
from contextlib import ExitStack, contextmanager

import httpx
import pytest

from tests.builders import build_artifact, golden_image, image_bytes
from tests.contract.test_dashboards import expert_series
from tests.dashboards import DASHBOARDS, dashboard_queries, filled_in, series_in
from tests.integration.monitoring.alertmanager import (
    start_alertmanager,
    start_receiver,
    why_no_alertmanager,
)
from tests.integration.monitoring.conftest import start_prometheus, why_no_prometheus
from tests.integration.monitoring.direct_callers import MODEL, copy_starter
from tests.integration.service.conftest import serve, wait_until_ready
from tests.threads import in_threads
from tests.triton_server import ROOT, start_triton, why_no_triton

WHY_NOT = why_no_prometheus() or why_no_alertmanager()
pytestmark = [pytest.mark.skipif(WHY_NOT is not None, reason=str(WHY_NOT)), pytest.mark.heavy]

OF_DRIFT = {name for name in expert_series() if "audit" not in name and "quarantine" not in name}
FASTER = 30  # a minute is two seconds
IMAGE = image_bytes(golden_image())


@contextmanager
def traffic(url, callers, **query):
    """Send images from several threads until the block ends."""

    def send(stop: threading.Event) -> None:
        with httpx.Client(base_url=url, timeout=20, trust_env=False) as client:
            while not stop.is_set():
                client.post("/detect", params=query, content=IMAGE)
                stop.wait(0.02)

    with in_threads([send] * callers):
        yield


@contextmanager
def watched(folder, **targets):
    """Run Prometheus and Alertmanager; yield Prometheus, the client of Alertmanager, and the receiver."""
    with (
        start_receiver() as receiver,
        start_alertmanager(folder, receiver) as client,
        start_prometheus(
            folder, faster=FASTER, alertmanager=client.base_url.netloc.decode(), **targets
        ) as prometheus,
    ):
        yield prometheus, client, receiver


def suppressed(client):
    """Return the names of the alerts that Alertmanager suppresses because another alert fires."""
    alerts = client.get("/api/v2/alerts").json()
    return {each["labels"]["alertname"] for each in alerts if each["status"]["inhibitedBy"]}


def test_an_overloaded_gateway_reaches_the_operators(tmp_path):
    repository = build_artifact(tmp_path / "served").repository
    with serve(repository=repository, workers=1, max_queue_s=0.001) as gateway:
        assert wait_until_ready(gateway).status_code == 200
        with watched(tmp_path, gateway=gateway.url.removeprefix("http://")) as (_, _, receiver):
            with traffic(gateway.url, 8):
                labels = receiver.wait_for("operators", "GatewayRefuses")
            assert labels["severity"] == "warning"
            assert labels["reason"] == "overloaded"
            assert labels["job"] == "gateway"
            assert not receiver.alerts("on-call")


@pytest.mark.skipif(why_no_triton() is not None, reason=str(why_no_triton()))
def test_a_dead_model_wakes_the_one_on_call_and_its_consequences_stay_silent(tmp_path):
    with start_triton(copy_starter(tmp_path / "repository")) as triton:
        settings = {"backends": ("triton",), "triton": {"url": triton.grpc_url}}
        with serve(repository=triton.repository, default_model="starter", **settings) as gateway:
            assert wait_until_ready(gateway).status_code == 200
            targets = {
                "gateway": gateway.url.removeprefix("http://"),
                "triton": triton.metrics_url.removeprefix("http://").removesuffix("/metrics"),
            }
            with watched(tmp_path, **targets) as (prometheus, client, receiver):
                prometheus.wait_for('up{job="triton"} == 1')
                with traffic(gateway.url, 2):
                    time.sleep(3)
                    kill_model(triton)
                    dead = receiver.wait_for("operators", "TritonModelDead")
                    assert dead["model"] == MODEL
                    assert dead["owner"] == "operator"
                    burns = receiver.wait_for("on-call", "AvailabilityBurnsFast")
                    assert burns["severity"] == "critical"
                    assert receiver.wait_for("on-call", "GatewayNotReady")["instance"] == targets["gateway"]
                    wait_until(lambda: {"BackendDown", "BreakerOpen"} <= suppressed(client))
                    reload_model(triton)
                    receiver.wait_for("operators", "TritonModelDead", status="resolved")
                    receiver.wait_for("on-call", "GatewayNotReady", status="resolved")
            assert not receiver.alerts("modellers")


def test_drift_reaches_the_modellers_and_every_panel_about_drift_shows_it(tmp_path):
    repository = ROOT / "model_repository"
    with serve(repository=repository, default_model="starter", workers=2) as gateway:
        assert wait_until_ready(gateway).status_code == 200
        with watched(tmp_path, gateway=gateway.url.removeprefix("http://")) as (prometheus, _, receiver):
            with traffic(gateway.url, 2):  # always the same image, which no baseline looks like
                labels = receiver.wait_for("modellers", "RoutingDrifts", within_s=120)
            assert (labels["model"], labels["version"], labels["backend"]) == ("starter", "1", "openvino")
            assert labels["owner"] == "modeller"
            assert not receiver.alerts("on-call")
            for query in (query for path in DASHBOARDS for query in dashboard_queries(path)):
                if series_in(query.expression) & OF_DRIFT:
                    expression = filled_in(query.expression, interval="30s", model="starter")
                    assert prometheus.query(expression), query.place


def test_a_gateway_that_is_gone_wakes_the_one_on_call(tmp_path):
    repository = build_artifact(tmp_path / "served").repository
    with ExitStack() as serving:
        gateway = serving.enter_context(serve(repository=repository))
        assert wait_until_ready(gateway).status_code == 200
        address = gateway.url.removeprefix("http://")
        with watched(tmp_path, gateway=address) as (prometheus, _, receiver):
            prometheus.wait_for('up{job="gateway"} == 1')
            assert "GatewayDown" not in receiver.alerts("on-call")
            serving.close()
            assert receiver.wait_for("on-call", "GatewayDown")["instance"] == address


def kill_model(triton):
    for pid, command in triton._stubs():
        if f"/{MODEL}/" in command:
            os.kill(pid, signal.SIGKILL)


def reload_model(triton):
    triton.unload(MODEL)
    triton.load(MODEL)


def wait_until(condition, within_s=30):
    end = time.monotonic() + within_s
    while not condition():
        assert time.monotonic() < end
        time.sleep(0.1)
