"""The web page charts latency, use of experts and drift, in a real browser."""

import pytest

from service.guard_settings import AccessSettings
from tests.builders import golden_image, image_bytes
from tests.integration.service.conftest import serve, wait_until_ready
from tests.integration.service.guards.test_page_access import KEYS, enter, keys_file
from tests.integration.service.page.driving import send, text_of, wait_for


@pytest.fixture
def red(tmp_path):
    path = tmp_path / "red.png"
    path.write_bytes(image_bytes(golden_image()))
    return path


def open_live(page):
    page.find_element("css selector", "#live summary").click()


def shares(page):
    """Return the text of each expert's row, by the title of its layer."""
    found = {}
    for figure in page.find_elements("css selector", "#live-charts figure:has(.shares)"):
        rows = [row.text.replace("\n", " ") for row in figure.find_elements("css selector", ".shares li")]
        found[figure.find_element("css selector", "figcaption").text] = rows
    return found


def test_the_use_of_experts_is_charted_beside_its_share_at_export(browser, repository, red):
    with serve(repository=repository) as running:
        assert wait_until_ready(running).status_code == 200
        browser.get(running.url)
        wait_for(browser, lambda: "tiny 1" in text_of(browser, "model"))
        for _ in range(3):
            send(browser, red)
            wait_for(browser, lambda: text_of(browser, "summary") == "1 object found.")
        running.detect(red.read_bytes(), top_k=1)
        open_live(browser)
        wait_for(
            browser, lambda: "It has answered 4 images since it started." in text_of(browser, "live-note")
        )
        found = shares(browser)
        samples = running.metrics()
    assert list(found) == ["backbone.p4, since the start", "backbone.p5, since the start"]
    rows = found["backbone.p4, since the start"]
    expected = [
        samples[
            f'sparsight_expert_baseline_share{{expert="{e}",layer="backbone.p4",model="tiny",version="1"}}'
        ]
        for e in range(4)
    ]
    now = [1, 0, 0, 0.75]  # the request for one expert did not choose expert 3
    assert rows == [f"expert {e} {now[e]:.0%} ({expected[e]:.0%})" for e in range(4)]
    assert "It does not measure drift." in text_of(browser, "live-note")


def test_the_latency_of_this_tab_is_charted(browser, served, red):
    browser.get(served.url)
    wait_for(browser, lambda: "tiny 1" in text_of(browser, "model"))
    open_live(browser)
    chart = "#live-charts svg[role=img]"
    label = "Latency of this tab's answers: now total none yet"
    wait_for(
        browser, lambda: browser.find_element("css selector", chart).get_attribute("aria-label") == label
    )
    send(browser, red)
    wait_for(browser, lambda: text_of(browser, "summary") == "1 object found.")
    total = text_of(browser, "timing").split()[-2]
    after = f"Latency of this tab's answers: now total {total} ms"
    wait_for(
        browser, lambda: browser.find_element("css selector", chart).get_attribute("aria-label") == after
    )


def test_a_closed_panel_requests_nothing(browser, served):
    browser.get(served.url)
    wait_for(browser, lambda: "tiny 1" in text_of(browser, "model"))
    open_live(browser)
    wait_for(browser, lambda: "metrics, for tiny 1" in text_of(browser, "live-note"))
    open_live(browser)
    browser.get_log("performance")
    browser.execute_async_script("setTimeout(arguments[0], 2500)")
    assert not [entry for entry in browser.get_log("performance") if "/metrics" in entry["message"]]


def test_a_key_that_may_not_read_metrics_is_told_calmly(browser, repository, tmp_path, red):
    access = AccessSettings(keys_file=keys_file(tmp_path))
    with serve(repository=repository, access=access) as running:
        browser.get(running.url)
        wait_for(browser, lambda: browser.find_element("id", "key").is_displayed())
        enter(browser, KEYS["detect"])
        wait_for(browser, lambda: "tiny 1" in text_of(browser, "model"))
        open_live(browser)
        wait_for(browser, lambda: "This key does not give access to them." in text_of(browser, "live-note"))
        assert not browser.find_element("id", "key-form").is_displayed()  # nobody is asked for another key
        send(browser, red)
        wait_for(browser, lambda: text_of(browser, "summary") == "1 object found.")
        assert len(browser.find_elements("css selector", "#live-charts figure")) == 1


METRICS = r"""
# HELP sparsight_routing_drift_bits Divergence of the chosen experts from the baseline.
sparsight_routing_drift_bits{model="tiny",version="1",backend="openvino",layer="backbone.p4"} 0.25
sparsight_routing_drift_bits{model="tiny",version="1",backend="openvino",layer="path"} 1.5
sparsight_routing_drift_bits{model="other",version="1",backend="openvino",layer="path"} 9
sparsight_routing_drifting{model="tiny",version="1",backend="openvino"} 1.0
sparsight_expert_share{model="tiny",version="1",backend="openvino",layer="backbone.p4",expert="1"} 0.75
sparsight_expert_share{model="tiny",version="1",backend="openvino",layer="backbone.p4",expert="0"} 0.5
sparsight_expert_baseline_share{model="tiny",version="1",layer="backbone.p4",expert="0"} 0.4
a_label{text="one \"two\" \\ three\nfour, and } five"} 1
"""


def calculate(page, module, expression):
    """Return the value of an expression in JavaScript that uses a module of the page as `module`."""
    use = f"import('/ui/{module}.js').then((module) => done({expression}))"
    return page.execute_async_script(
        f"const done = arguments[0]; {use}.catch((error) => done(`${{error}}`));"
    )


@pytest.fixture
def page(browser, served):
    browser.get(served.url)
    return browser


def test_drift_and_the_shares_of_the_latest_images_are_read_for_the_model_that_is_shown(page):
    found = calculate(page, "metrics", f"module.snapshotOf(module.samplesOf({METRICS!r}), 'tiny', '1')")
    assert found["driftBits"] == {"backbone.p4": 0.25, "path": 1.5}
    assert found["drifting"] is True
    assert (found["shares"], found["isLatest"]) == ({"backbone.p4": [0.5, 0.75]}, True)
    assert found["expected"] == {"backbone.p4": [0.4]}


def test_what_the_service_does_not_export_is_unknown_and_not_zero(page):
    found = calculate(page, "metrics", "module.snapshotOf([], 'tiny', '1')")
    assert found == {
        "buckets": [],
        "images": None,
        "shares": None,
        "isLatest": False,
        "expected": None,
        "driftBits": None,
        "drifting": None,
    }


def test_a_label_may_hold_quotes_and_line_breaks(page):
    samples = calculate(page, "metrics", f"module.samplesOf({METRICS!r})")
    assert samples[-1]["labels"] == {"text": 'one "two" \\ three\nfour, and } five'}


@pytest.mark.parametrize(
    ("quantile", "milliseconds"),
    [(0.5, 100), (0.75, 150), (0.25, 50), (1, 200)],  # four new requests: two up to 100 ms, two up to 200 ms
)
def test_a_quantile_counts_only_the_requests_since_the_snapshot_before(page, quantile, milliseconds):
    before, after = "[[0.1, 7], [0.2, 7], [Infinity, 9]]", "[[0.1, 9], [0.2, 11], [Infinity, 13]]"
    found = calculate(page, "metrics", f"module.quantileMs({before}, {after}, {quantile})")
    assert found == pytest.approx(milliseconds)


def test_without_new_requests_there_is_no_quantile(page):
    assert calculate(page, "metrics", "module.quantileMs([[0.1, 7]], [[0.1, 7]], 0.5)") is None


def test_a_gap_in_a_series_is_a_gap_in_its_line(page):
    lines = "[{ name: 'a', values: [1, null, 2, 4] }]"
    drawn = calculate(
        page,
        "charts",
        f"module.lineChart({{ title: 'T', unit: 'bit', digits: 1, lines: {lines} }}).outerHTML",
    )
    assert 'aria-label="T: now a 4.0 bit"' in drawn
    assert 'd="M0.0 59.0h0.01M200.0 40.0h0.01L300.0 2.0"' in drawn  # 4 is at the top, 2 px below the edge


def test_drift_of_half_a_bit_is_drawn_at_half_the_height(page):
    lines = "[{ name: 'a', values: [0.25, 0.5] }]"
    chart = f"{{ title: 'T', unit: 'bit', digits: 1, lines: {lines}, most: 1 }}"
    drawn = calculate(page, "charts", f"module.lineChart({chart}).outerHTML")
    assert 'd="M0.0 59.0h0.01L300.0 40.0"' in drawn
    assert "0 to 1.0 bit" in drawn
