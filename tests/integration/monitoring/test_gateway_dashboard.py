"""Every query of every dashboard works on a real Prometheus that scrapes the real gateway under traffic."""

import time

import pytest

from tests.builders import build_artifact, golden_image, image_bytes
from tests.contract.test_dashboards import expert_series
from tests.dashboards import (
    DASHBOARDS,
    alert_rules,
    dashboard_queries,
    filled_in,
    recording_rules,
    series_in,
)
from tests.integration.monitoring.conftest import start_prometheus, why_no_prometheus
from tests.integration.service.conftest import serve, wait_until_ready
from tests.path_artifacts import build_paths, plain

pytestmark = [
    pytest.mark.skipif(why_no_prometheus() is not None, reason=str(why_no_prometheus())),
    pytest.mark.heavy,
]

INTERVAL = "5s"
# These have no samples before a backend fails, or a queue is full, for the first time.
ONLY_AFTER_A_FAILURE = {
    "sparsight_backend_errors_total",
    "sparsight_failovers_total",
    "job_reason:sparsight_requests_refused:ratio_rate5m",
    *(rule["record"] for rule in recording_rules() if "request_failures" in rule["record"]),
}
# The tiny model's artifact has no baseline for drift; test_alerting.py has the starter.
ONLY_WITH_A_BASELINE = {
    name for name in expert_series() if "audit" not in name and "novel_images" not in name
}
ONLY_WITH_PATHS = {"sparsight_path_images_total", "sparsight_path_baseline_share"}  # see the last test
ONLY_WITH_PATHS |= {f"sparsight_route_seconds_{part}" for part in ("sum", "count")}
ONLY_WITH_AUDITS = {"sparsight_audited_images_total", "sparsight_backend_quarantined"}
ONLY_WITH_KEYS = {"sparsight_key_requests_total", "sparsight_access_file_broken"}
ONLY_WITH_TLS = {"sparsight_certificate_expiry_timestamp_seconds"}  # 0 without, and the panel leaves out 0
NOTHING_FIRES = {"ALERTS"}
MAY_BE_EMPTY = ONLY_AFTER_A_FAILURE | ONLY_WITH_A_BASELINE | ONLY_WITH_AUDITS
MAY_BE_EMPTY |= ONLY_WITH_PATHS | ONLY_WITH_KEYS | ONLY_WITH_TLS | NOTHING_FIRES
QUERIES = [pytest.param(query, id=query.place) for path in DASHBOARDS for query in dashboard_queries(path)]


@pytest.fixture(scope="module")
def prometheus(tmp_path_factory):
    """Give a Prometheus that has seen the gateway answer, and refuse, for a few seconds."""
    repository = build_artifact(tmp_path_factory.mktemp("served")).repository
    image = image_bytes(golden_image())
    with serve(repository=repository) as gateway:
        assert wait_until_ready(gateway).status_code == 200
        address = gateway.url.removeprefix("http://")
        with start_prometheus(tmp_path_factory.mktemp("prometheus"), gateway=address) as running:
            running.wait_for('up{job="gateway"} == 1')
            refusing = f"rate(sparsight_requests_total{{code='422'}}[{INTERVAL}]) > 0"
            end = time.monotonic() + 30
            while not running.query(
                refusing
            ):  # until two scrapes have seen the counters at different heights
                assert time.monotonic() < end, "no rate within 30 s"
                assert gateway.detect(image).status_code == 200
                assert gateway.detect(image[:100]).status_code == 422
                time.sleep(0.1)
            yield running


@pytest.mark.parametrize("query", QUERIES)
def test_prometheus_answers_every_query_of_the_dashboard(prometheus, query):
    expression = filled_in(query.expression, interval=INTERVAL)
    found = prometheus.query(expression) if query.instant else prometheus.query_range(expression)
    names = series_in(query.expression)
    of_the_gateway = all("sparsight_" in name and "_triton_" not in name for name in names)
    quiet = names & MAY_BE_EMPTY or "unless" in expression
    if of_the_gateway and not quiet:
        assert found, expression


def test_the_dashboard_shows_what_the_gateway_answered(prometheus):
    # The golden image is red: layer p4 chooses expert 0 for it; the share is of images, so it is 1.
    place = "sparsight-experts: Share of images: $layer"
    share = next(query.values[0] for query in QUERIES if query.values[0].place == place)
    shares = {
        series["metric"]["expert"]: float(series["value"][1])
        for series in prometheus.query(
            filled_in(share.expression, interval="1m").replace(".+", "backbone.p4")
        )
    }
    assert shares["0"] == pytest.approx(1.0)
    assert sum(shares.values()) == pytest.approx(2.0)  # top_k
    assert set(shares) == {"0", "1", "2", "3"}  # those never chosen are shown, at 0


def test_every_alert_is_loaded_and_healthy_and_only_triton_is_missed(prometheus):
    prometheus.wait_for("ALERTS")

    def loaded_rules():
        groups = prometheus.ask("rules")["groups"]
        return {rule["name"]: rule for group in groups for rule in group["rules"]}

    loaded = loaded_rules()
    recorded = {rule["record"] for rule in recording_rules()}
    assert {loaded[name]["health"] for name in recorded} == {"ok"}
    rules = {name: rule for name, rule in loaded.items() if name not in recorded}
    assert set(rules) == {rule["alert"] for rule in alert_rules()}
    assert {rule["health"] for rule in rules.values()} == {"ok"}

    def ringing():
        return {
            name for name, rule in loaded_rules().items() if name in rules and rule["state"] != "inactive"
        }

    end = time.monotonic() + 30
    while ringing() != {"TritonDown"}:  # a scrape may fail on a busy machine
        assert time.monotonic() < end, ringing()
        time.sleep(0.5)


def test_the_dashboards_show_shares_of_paths_now_and_at_export_and_their_times(tmp_path):
    build_paths(tmp_path / "models")
    queries = [query.values[0] for query in QUERIES]
    now, before = (query for query in queries if query.place == "sparsight-experts: Paths")
    (lately,) = (query for query in queries if query.place == "sparsight-experts: Paths, over time")
    (took,) = (query for query in queries if query.place == "sparsight: Time of each path")

    def ask(query):
        expression = filled_in(query.expression, interval=INTERVAL, model="routed")
        return {series["metric"]["path"]: float(series["value"][1]) for series in running.query(expression)}

    files = [image_bytes(plain(colour)) for colour in ((200, 0, 0), (200, 0, 0), (0, 200, 0))]
    with serve(repository=tmp_path / "models") as gateway:
        assert wait_until_ready(gateway).status_code == 200
        address = gateway.url.removeprefix("http://")
        with start_prometheus(tmp_path, gateway=address) as running:
            end, shares = time.monotonic() + 60, {}
            while not shares.get("1", 0) > 0:  # until two scrapes have seen the counters at different heights
                assert time.monotonic() < end, shares
                for file in files:
                    assert gateway.detect(file).status_code == 200
                time.sleep(0.05)
                shares = ask(lately)
            in_range, at_export = ask(now), ask(before)
            times = running.query(filled_in(took.expression, interval=INTERVAL))
    assert at_export == {"0": 0.5, "1": 0.3, "2": 0.2}
    assert {(one["metric"]["path"], one["metric"]["top_k"]) for one in times} == {("0", "2"), ("1", "2")}
    assert all(0 < float(one["value"][1]) < 1 for one in times)
    assert set(in_range) == set(shares) == {"0", "1", "2"}  # one that no image took is shown, at 0
    assert in_range["0"] > in_range["1"] > in_range["2"] == 0
    assert shares["2"] == 0
    assert sum(shares.values()) == pytest.approx(1.0)
