"""The web page says what the experts of an answer serve, in a real browser."""

import numpy as np
import pytest
from selenium.webdriver.common.keys import Keys

from tests.builders import build_artifact, golden_image, image_bytes
from tests.experts_reports import tiny_report
from tests.integration.service.conftest import serve, wait_until_ready
from tests.integration.service.page.driving import open_page, send, text_of, wait_for


@pytest.fixture(scope="module")
def reported(tmp_path_factory):
    built = build_artifact(tmp_path_factory.mktemp("reported"), report=tiny_report())
    with serve(repository=built.repository) as running:
        assert wait_until_ready(running).status_code == 200
        yield running


@pytest.fixture
def page(browser, reported):
    return open_page(browser, reported.url)


def image_file(folder, name, image):
    path = folder / name
    path.write_bytes(image_bytes(image))
    return path


@pytest.fixture
def red(tmp_path):
    return image_file(tmp_path, "red.png", golden_image())


@pytest.fixture
def blue(tmp_path):
    return image_file(tmp_path, "blue.png", np.full((64, 64, 3), (0, 0, 255), np.uint8))


@pytest.fixture
def black(tmp_path):
    return image_file(tmp_path, "black.png", np.zeros((64, 64, 3), np.uint8))


def answered(page, path, summary="1 object found."):
    send(page, path)
    wait_for(page, lambda: text_of(page, "summary") == summary)


def expert(page, layer, number):
    return page.find_element("css selector", f"[data-layer='{layer}'] li:nth-child({number + 1}) button")


def detail(page):
    return page.find_element("css selector", ".expert-detail:not([hidden])").text.split("\n")


def test_each_expert_that_ran_is_said_to_serve_the_data_sets_that_choose_it_more_often(page, red):
    answered(page, red)
    wait_for(page, lambda: page.find_elements("css selector", ".serves"))
    lines = page.find_elements("css selector", ".serves")
    told = [[one.text for one in line.find_elements("css selector", "span")] for line in lines]
    assert told == [
        ["0 serves day", "3 serves night"],
        ["1 serves every kind of image", "2 serves night"],  # expert 1 is chosen as often by day as by night
    ]
    assert "10 labelled images (tiny val), with 2 experts per layer." in text_of(page, "layers")


def test_an_expert_shows_its_shares_and_the_images_of_this_tab_that_chose_it(page, red, blue):
    answered(page, blue)
    answered(page, red)
    expert(page, "backbone.p4", 0).click()
    text = detail(page)
    assert text[0] == "Expert 0 of backbone.p4"
    assert "Chosen for 60% of the labelled images" in text[1]
    assert text[2:7] == ["Data sets", "day (6 images)", "100% · 1.7×", "night (4 images)", "0% · 0.0×"]
    assert "One image of this tab chose it." in text[-1]  # the blue one chose others
    (canvas,) = page.find_elements("css selector", ".thumbnails canvas")
    assert canvas.accessible_name == "red.png"
    pixel = "return [...arguments[0].getContext('2d').getImageData(10, 10, 1, 1).data].slice(0, 3)"
    wait_for(page, lambda: page.execute_script(pixel, canvas) == [230, 60, 30])
    expert(page, "backbone.p4", 3).click()
    assert "2 images of this tab chose it." in detail(page)[-1]


def test_the_mark_and_the_bar_are_the_shares_of_the_report(page, red):
    answered(page, red)
    expert(page, "backbone.p5", 2).click()
    svg = page.find_elements("css selector", ".expert-detail:not([hidden]) .shares svg")
    bars = [[float(part.get_attribute(name)) for part, name in parts] for parts in map(of_bar, svg)]
    assert bars == [
        pytest.approx([1.0, 0.4]),
        pytest.approx([0.0, 0.4]),
    ]  # night before day, both with the mean


def of_bar(svg):
    now, expected = svg.find_elements("css selector", "rect")
    return (now, "width"), (expected, "x")


def test_an_expert_is_opened_and_closed_from_the_keyboard_and_stays_open_in_the_next_answer(page, red, black):
    answered(page, red)
    button = expert(page, "backbone.p4", 3)
    button.send_keys(Keys.ENTER)
    assert button.get_attribute("aria-expanded") == "true"
    answered(page, black, "No objects found at this confidence.")
    assert detail(page)[0] == "Expert 3 of backbone.p4"
    again = expert(page, "backbone.p4", 3)
    assert again.get_attribute("aria-expanded") == "true"
    again.send_keys(Keys.SPACE)
    assert again.get_attribute("aria-expanded") == "false"
    assert not page.find_elements("css selector", ".expert-detail:not([hidden])")


def test_another_number_of_experts_than_in_the_report_is_said(page, red):
    answered(page, red)
    assert "This answer ran with" not in text_of(page, "layers")
    page.find_element("css selector", "#top-k input[value='1']").click()
    wait_for(page, lambda: "This answer ran with 1." in text_of(page, "layers"))


def test_a_release_without_a_report_says_so_and_still_shows_the_images_of_this_tab(browser, served, red):
    browser.get(served.url)
    wait_for(browser, lambda: "tiny 1" in text_of(browser, "model"))
    answered(browser, red)
    assert "This release has no report on what its experts serve." in text_of(browser, "layers")
    expert(browser, "backbone.p4", 0).click()
    assert detail(browser)[0] == "Expert 0 of backbone.p4"
    assert detail(browser)[1] == "Images of this tab"
