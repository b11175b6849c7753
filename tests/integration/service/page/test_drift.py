"""The web page says that recent images are routed unlike the baseline, in a real browser."""

import numpy as np
import pytest

from tests.browser import open_browser
from tests.builders import image_bytes
from tests.contract.test_routing_baseline import ask, colours, measured_artifact, swapped, until_watched
from tests.integration.service.conftest import serve, wait_until_ready
from tests.integration.service.page.driving import open_page, send, text_of, wait_for
from tests.integration.service.page.test_live import calculate


@pytest.fixture(scope="module")
def running(tmp_path_factory):
    tiny = measured_artifact(tmp_path_factory.mktemp("measured"))
    with serve(repository=tiny.repository) as served:
        assert wait_until_ready(served).status_code == 200
        yield served


@pytest.fixture(scope="module")
def browser(tmp_path_factory):
    with open_browser(tmp_path_factory.mktemp("profile")) as driver:
        driver.implicitly_wait(1)
        yield driver


@pytest.fixture
def page(browser, running):
    return open_page(browser, running.url)


def test_an_answer_says_that_the_routing_drifts_and_what_to_do_and_the_charts_show_it(
    page, running, tmp_path
):
    usual = colours(np.random.default_rng(1), 300)
    until_watched(running.client, usual)
    path = tmp_path / "usual.png"
    path.write_bytes(image_bytes(usual[0]))
    send(page, path)
    wait_for(page, lambda: page.find_elements("css selector", "#layers .layer"))
    assert page.find_elements("css selector", ".drift") == []
    drift = ask(running.client, swapped(usual))["drift"]
    send(page, path)
    wait_for(page, lambda: page.find_elements("css selector", ".drift"))
    words = page.find_element("css selector", "#layers .drift").text
    where = "all layers together" if drift["layer"] == "path" else drift["layer"]
    assert f"Recent images are routed unlike the baseline. In {where}, " in words
    assert "Compare a recent image with an earlier one" in words
    assert page.find_element("css selector", ".drift time").get_attribute("datetime") == drift["since"]
    page.find_element("css selector", "#live summary").click()
    wait_for(page, lambda: "Routing differs from the baseline." in text_of(page, "live-note"))
    titles = [one.text for one in page.find_elements("css selector", "#live-charts figcaption")]
    assert any(title.startswith("Drift; at 1 bit, nothing is as at export") for title in titles)
    assert "backbone.p4, latest images" in titles
    assert "path" not in text_of(page, "live-charts")  # a word of the metrics, which a reader does not know
    assert page.get_log("browser") == []


@pytest.mark.parametrize(
    ("test", "words"),
    [
        ("mean", "In a.b, the routers' probabilities are different on average, since Nov 29, 2026"),
        ("sets", "other sets of experts are chosen"),
        ("novelty", "images have become less like those of the baseline"),
        ("dead", "an expert is not chosen any more"),
        ("nan", "Use another version of the model"),
        ("a test of a later version", "something differs"),
    ],
)
def test_each_test_has_its_own_words(page, test, words):
    drift = f"{{ layer: 'a.b', test: '{test}', since: '2026-11-29T12:00:00Z' }}"
    assert words in calculate(
        page, "drift", f"module.driftNote({{ routing: 'drifting', drift: {drift} }}).textContent"
    )


def test_all_layers_together_are_not_called_by_the_word_of_the_metrics(page):
    drift = "{ layer: 'path', test: 'sets', since: '2026-11-29T12:00:00Z' }"
    words = calculate(
        page, "drift", f"module.driftNote({{ routing: 'drifting', drift: {drift} }}).textContent"
    )
    assert "In all layers together, other sets" in words


@pytest.mark.parametrize("routing", ["normal", "static"])
def test_other_routing_has_no_note(page, routing):
    assert calculate(page, "drift", f"module.driftNote({{ routing: '{routing}' }})") is None
