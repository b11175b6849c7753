"""The web page draws which regions of an image moved the routers, in a real browser."""

import re
import time

import numpy as np
import pytest

from service.explain import runner
from tests.builders import build_artifact, build_classifier, image_bytes
from tests.integration.service.conftest import serve, wait_until_ready
from tests.integration.service.page.driving import open_page, send, text_of, wait_for

GREY = 120


@pytest.fixture(scope="module")
def running(tmp_path_factory):
    root = tmp_path_factory.mktemp("explained")
    build_artifact(root)
    build_classifier(root)
    with serve(repository=root, default_model="tiny", explain=True) as served:
        assert wait_until_ready(served).status_code == 200
        yield served


@pytest.fixture
def page(browser, running):
    return open_page(browser, running.url)


@pytest.fixture
def corner(tmp_path):
    """Write a grey image whose upper left quarter is red, and return its path."""
    pixels = np.full((64, 64, 3), GREY, np.uint8)
    pixels[:32, :32] = (255, 0, 0)
    path = tmp_path / "corner.png"
    path.write_bytes(image_bytes(pixels))
    return path


def answered(page, path):
    send(page, path)
    wait_for(page, lambda: page.find_element("id", "explain").is_enabled() and shown(page, "explain"))


def shown(page, name):
    return page.find_element("id", name).is_displayed()


def explain(page):
    page.find_element("id", "explain").click()
    wait_for(page, lambda: shown(page, "map"))


def choose(page, layer):
    from selenium.webdriver.support.select import Select

    Select(page.find_element("id", "map-layer")).select_by_visible_text(layer)


def pixel(page, x, y):
    """Return the RGB value that is drawn at a pixel of the image of 64 x 64 pixels."""
    script = """
        const canvas = document.getElementById('image'), [x, y] = [...arguments], unit = canvas.width / 64;
        return [...canvas.getContext('2d').getImageData(x * unit, y * unit, 1, 1).data].slice(0, 3);
    """
    return page.execute_script(script, x, y)


def test_the_map_marks_the_region_that_moved_the_router_and_says_which(page, corner):
    answered(page, corner)
    assert "more than a hundred copies of this image" in text_of(page, "explain-cost")
    explain(page)
    choose(page, "backbone.p4")
    words = text_of(page, "map-words")
    assert "The upper left part of the image speaks most for expert 0 of backbone.p4." in words
    assert re.search(r"become 0\.\d+ times as high; if a random quarter is hidden, \d\.\d+ times", words)
    assert "The image's mean colour alone leads to this expert" in words  # it is reddish, too
    red, _, blue = pixel(page, 1, 1)
    assert red > blue + 60  # the colour of regions that speak for the expert
    assert page.find_element("id", "image").get_attribute("aria-describedby") == "map-words"
    assert page.get_log("browser") == []


def test_the_numbers_are_those_of_the_answer(page, running, corner):
    answered(page, corner)
    explain(page)
    choose(page, "backbone.p4")
    answer = running.detect(corner.read_bytes(), explain="route", conf=0.25)
    (layer, _) = answer.json()["explanation"]["layers"]
    effects = np.array(layer["effects"])
    words, legend = text_of(page, "map-words"), text_of(page, "map-legend")
    assert f"become {np.exp(-layer['marked_fall']):#.2g} times as high" in words
    assert f"up to +{effects.max():.2f}" in legend
    assert f"down to −{abs(min(0, effects.min())):.2f}" in legend.replace("+0.00", "−0.00")


def test_the_time_of_an_explanation_is_not_charted_as_latency(page, corner):
    answered(page, corner)
    explain(page)
    page.find_element("css selector", "#live summary").click()
    chart = page.find_element("css selector", "#live-charts svg[role=img]")
    total = text_of(page, "timing").split()[-2]
    assert chart.get_attribute("aria-label") == f"Latency of this tab's answers: now total {total} ms"


def test_without_a_map_the_image_has_its_own_colours_again(page, corner):
    answered(page, corner)
    before = pixel(page, 20, 1)
    assert before == [255, 0, 0]
    explain(page)
    choose(page, "backbone.p4")
    assert pixel(page, 20, 1) != before
    choose(page, "no layer")
    assert pixel(page, 20, 1) == before
    assert text_of(page, "map-words") == text_of(page, "map-legend") == ""


def test_a_map_belongs_to_one_answer_and_is_asked_for_once(page, corner, tmp_path):
    other = tmp_path / "other.png"
    other.write_bytes(image_bytes(np.full((64, 64, 3), GREY, np.uint8)))
    answered(page, f"{corner}\n{other}")
    explain(page)
    first, second = page.find_elements("css selector", "#strip button")
    second.click()
    wait_for(page, lambda: shown(page, "explain"))
    assert not shown(page, "map")
    assert text_of(page, "map-words") == ""
    page.get_log("performance")
    first.click()
    wait_for(page, lambda: shown(page, "map"))
    assert "explain=route" not in "".join(entry["message"] for entry in page.get_log("performance"))
    page.find_element("css selector", "#top-k input[value='1']").click()  # another answer
    wait_for(page, lambda: shown(page, "explain"))
    assert not shown(page, "map")


def test_an_explanation_shows_that_it_runs_and_can_be_stopped(page, corner, monkeypatch):
    prepare = runner._Hide.prepare

    def slow_prepare(job):
        time.sleep(0.05)
        return prepare(job)

    answered(page, corner)
    with monkeypatch.context() as patched:
        patched.setattr(runner._Hide, "prepare", slow_prepare)
        page.find_element("id", "explain").click()
        wait_for(page, lambda: shown(page, "explain-busy"))
        assert text_of(page, "explain-seconds").endswith(" s")
        assert page.switch_to.active_element.get_attribute("id") == "explain-stop"
        page.find_element("id", "explain-stop").click()
        wait_for(page, lambda: text_of(page, "explain-note") == "Stopped.")
    assert shown(page, "explain")
    assert page.switch_to.active_element.get_attribute("id") == "explain"


def test_a_service_without_explanations_says_so_calmly(browser, served, corner):
    browser.get(served.url)
    wait_for(browser, lambda: "tiny 1" in text_of(browser, "model"))
    answered(browser, corner)
    browser.find_element("id", "explain").click()
    wait_for(
        browser, lambda: "ask the operator to set SPARSIGHT_EXPLAIN=true" in text_of(browser, "explain-note")
    )
    assert shown(browser, "explain")
    assert not shown(browser, "problem")  # the answer stays


def test_the_map_of_a_classifier_lies_over_the_part_that_it_sees(page, tmp_path):
    from selenium.webdriver.support.select import Select

    pixels = np.full((50, 100, 3), GREY, np.uint8)
    pixels[:, 60:75] = (0, 255, 0)
    path = tmp_path / "wide.png"
    path.write_bytes(image_bytes(pixels))
    Select(page.find_element("id", "model-choice")).select_by_value("colours")
    answered(page, path)
    explain(page)
    choose(page, "backbone.p4")
    script = """
        const canvas = document.getElementById('image'), unit = canvas.width / 100;
        const context = canvas.getContext('2d');
        const at = (x) => [...context.getImageData(x * unit, 25 * unit, 1, 1).data].slice(0, 3);
        return [at(10), at(62)];
    """
    outside, inside = page.execute_script(script)
    assert len(set(outside)) == 1  # grey: the model does not see this part
    assert len(set(inside)) > 1


# Each ninth has four cells; the mean of the first ninth is 0.
ONE_STRONG_CELL = [[9, -9, 0, 0, 0, 0], [-9, 9, 0, 0, 0, 0], *[[0] * 6] * 2, *[[0, 0, 0, 0, 1, 1]] * 2]
FALLS = [
    ("{ marked_fall: 0.25, random_fall: 0.12, whole_fall: 1 }", "So the map shows"),
    ("{ marked_fall: 0.24, random_fall: 0, whole_fall: 1 }", "do not rely on it"),
    ("{ marked_fall: 1, random_fall: 0.5, whole_fall: 1 }", "do not rely on it"),
    ("{ marked_fall: 1, random_fall: 0.49, whole_fall: 1 }", "So the map shows"),
    ("{ marked_fall: 1, random_fall: -0.5, whole_fall: 1 }", "hidden, 1.6 times as high. So the map shows"),
    ("{ marked_fall: Math.log(1000), random_fall: 0, whole_fall: 1 }", "become 0.0010 times as high"),
    ("{ marked_fall: 6.91, random_fall: -5, whole_fall: 1 }", "less than 0.001 times as high; if a random"),
    ("{ marked_fall: 6.91, random_fall: -5, whole_fall: 1 }", "hidden, 148 times as high"),  # e⁵ is 148
    ("{ marked_fall: 1, random_fall: 0, whole_fall: 0 }", "mean colour alone leads to this expert"),
]


@pytest.mark.parametrize(("falls", "words"), FALLS)
def test_a_map_is_confirmed_if_its_marked_quarter_moves_the_router_more_than_twice_a_random_one(
    page, falls, words
):
    layer = f"{{ layer: 'a', expert: 2, effects: [[1, 0], [0, 0]], ...{falls} }}"
    assert words in in_words(page, layer)


@pytest.mark.parametrize(
    ("effects", "words"),
    [
        ("[[0, 0, 0], [0, 1, 0], [0, 0, 0]]", "The central part of the image speaks most for expert 2 of a."),
        (
            "[[0, 0, -1], [0, 0, 0], [2, 0, 0]]",
            "The lower left part of the image speaks most for expert 2 of a.",
        ),
        ("[[0, 0, -1], [0, 0, 0], [2, 0, 0]]", "The upper right part speaks most against it."),
        ("[[-1, -2]]", "No part of the image speaks for expert 2 of a. The middle right part speaks most"),
        (ONE_STRONG_CELL, "The lower right part of the image speaks most for expert 2 of a."),
    ],
)
def test_the_strongest_region_is_named_and_not_the_strongest_cell(page, effects, words):
    layer = f"{{ layer: 'a', expert: 2, effects: {effects}, marked_fall: 1, random_fall: 0, whole_fall: 1 }}"
    assert words in in_words(page, layer)


def in_words(page, layer):
    use = f"import('/ui/heat.js').then(({{ wordsOf }}) => done(wordsOf({layer})))"
    return page.execute_async_script(
        f"const done = arguments[0]; {use}.catch((error) => done(`${{error}}`));"
    )
