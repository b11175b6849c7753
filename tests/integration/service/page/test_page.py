"""The web page at / of a real service, in a real browser."""

import json
import re

import cv2
import numpy as np
import pytest

from service.access.table import RULES
from tests.builders import build_artifact, build_classifier, golden_image, image_bytes
from tests.integration.service.page.driving import open_page, send, text_of, wait_for


@pytest.fixture
def page(browser, served):
    return open_page(browser, served.url)


@pytest.fixture
def red(tmp_path):
    path = tmp_path / "red.png"
    path.write_bytes(image_bytes(golden_image()))
    return path


def active_experts(browser):
    rows = browser.find_elements("css selector", ".layer")
    return [[item.text for item in row.find_elements("css selector", ".expert.active")] for row in rows]


def test_an_image_shows_its_objects_and_experts(page, red):
    send(page, red)
    wait_for(page, lambda: text_of(page, "summary") == "1 object found.")
    assert text_of(page, "detections").split() == ["red", "75%"]
    assert active_experts(page) == [["0\n83%", "3\n17%"], ["1\n23%", "2\n77%"]]
    assert "6.00 of 6.60 GFLOPs used, 9% skipped" in text_of(page, "compute")
    assert "total" in text_of(page, "timing")
    assert page.get_log("browser") == []  # nothing was blocked, nothing failed


def test_boxes_are_drawn_over_the_image(page, red):
    send(page, red)
    wait_for(page, lambda: text_of(page, "summary") == "1 object found.")
    script = """
        const canvas = document.getElementById('image'), pixel = canvas.width / 64;
        const at = (x, y) => [...canvas.getContext('2d').getImageData(x * pixel, y * pixel, 1, 1).data];
        return [at(4, 30), at(20, 30)];
    """
    on_the_box, inside_it = page.execute_script(script)
    assert inside_it[:3] == golden_image()[30, 20].tolist()
    assert on_the_box != inside_it


def test_choosing_fewer_experts_asks_again(page, red):
    send(page, red)
    wait_for(page, lambda: len(active_experts(page)) == 2)
    page.find_element("css selector", "#top-k input[value='1']").click()
    wait_for(page, lambda: active_experts(page) == [["0\n100%"], ["2\n100%"]])


def test_a_file_that_is_no_image_shows_the_sentence_of_the_problem(page, tmp_path):
    path = tmp_path / "note.txt"
    path.write_text("hello")
    send(page, path)
    wait_for(page, lambda: "not an image in a supported format" in text_of(page, "problem"))


def test_an_image_without_objects_gets_a_sentence(page, tmp_path):
    path = tmp_path / "black.png"
    path.write_bytes(image_bytes(np.zeros((64, 64, 3), np.uint8)))
    send(page, path)
    wait_for(page, lambda: text_of(page, "summary") == "No objects found at this confidence.")


def test_static_routing_gets_a_sentence(browser, start, tmp_path, red):
    built = build_artifact(tmp_path / "static", changes={"routing": "static"})
    browser.get(start(repository=built.repository).url)
    wait_for(browser, lambda: "tiny 1" in text_of(browser, "model"))
    send(browser, red)
    wait_for(browser, lambda: "Routing is static" in text_of(browser, "warnings"))


def test_a_classifier_shows_its_best_classes_with_their_confidence(browser, start, tmp_path, red):
    browser.get(start(repository=build_classifier(tmp_path / "one").repository).url)
    wait_for(browser, lambda: "colours 1" in text_of(browser, "model"))
    assert not browser.find_element("id", "conf").is_displayed()  # it has no conf
    send(browser, red)
    wait_for(browser, lambda: text_of(browser, "summary") == "Most likely red, 86%.")
    assert text_of(browser, "detections-title") == "CLASSES"
    assert text_of(browser, "detections").split() == ["red", "86%", "green", "11%"]
    assert active_experts(browser) == [["0\n83%", "3\n17%"], ["1\n23%", "2\n77%"]]
    bars = browser.find_elements("css selector", "#detections rect")
    assert [float(bar.get_attribute("width")) for bar in bars] == pytest.approx([0.860, 0.112], abs=1e-3)
    above = "return document.getElementById('detections').getBoundingClientRect().bottom"
    assert browser.execute_script(above) < browser.find_element("id", "layers").rect["y"]
    assert browser.get_log("browser") == []


def test_a_model_without_anything_to_choose_has_no_controls(browser, start, tmp_path, red):
    browser.get(start(repository=build_classifier(tmp_path / "plain", experts=False).repository).url)
    wait_for(browser, lambda: "colours 1" in text_of(browser, "model"))
    assert not browser.find_element("id", "controls-card").is_displayed()
    send(browser, red)
    wait_for(browser, lambda: text_of(browser, "summary") == "Most likely red, 86%.")
    assert not browser.find_element("id", "experts-card").is_displayed()


@pytest.fixture
def slow_then_small(tmp_path):
    """Write a large image without objects, and a small one with an object; return their paths."""
    large = tmp_path / "large.png"
    large.write_bytes(image_bytes(np.random.default_rng(0).integers(0, 2, (6000, 6000, 3), np.uint8)))
    small = tmp_path / "small.png"
    small.write_bytes(image_bytes(golden_image()))
    return large, small


def test_the_image_that_was_chosen_last_is_shown_with_its_own_answer(page, slow_then_small):
    large, small = slow_then_small
    send(page, large)
    send(page, small)
    wait_for(page, lambda: text_of(page, "summary") == "1 object found.")
    # Long enough for the large image to be decoded after all.
    page.execute_async_script("setTimeout(arguments[0], 1500)")
    assert text_of(page, "summary") == "1 object found."
    assert page.find_element("id", "image").size == {"width": 512, "height": 512}  # 64 × 64, enlarged 8 times


def test_an_image_chosen_while_the_models_load_is_answered(page, red):
    models = """
        const real = window.fetch, loading = () => new Response('{"detail": "loading"}', { status: 503 });
        const early = (url) => url === "/models" && !window.ready;
        window.fetch = async (url, options) => early(url) ? loading() : real(url, options);
    """
    page.execute_cdp_cmd("Page.enable", {})
    script = page.execute_cdp_cmd("Page.addScriptToEvaluateOnNewDocument", {"source": models})
    try:
        page.refresh()
        wait_for(page, lambda: text_of(page, "model") == "loading")
        send(page, red)
        wait_for(page, lambda: text_of(page, "summary") == "Waiting for the models…")
        page.execute_script("window.ready = true")
        wait_for(page, lambda: text_of(page, "summary") == "1 object found.")
    finally:
        page.execute_cdp_cmd("Page.removeScriptToEvaluateOnNewDocument", script)


@pytest.fixture
def three(tmp_path):
    """Write an image with an object, one without and a file that is no image; return their paths."""
    names = ("red.png", "black.png", "note.txt")
    contents = (image_bytes(golden_image()), image_bytes(np.zeros((64, 64, 3), np.uint8)), b"hello")
    for name, content in zip(names, contents, strict=True):
        (tmp_path / name).write_bytes(content)
    return "\n".join(str(tmp_path / name) for name in names)


def strip_of(page):
    return [
        button.get_attribute("aria-label") for button in page.find_elements("css selector", "#strip button")
    ]


def test_several_images_become_a_strip_and_each_shows_its_own_answer(page, three):
    from selenium.webdriver.common.keys import Keys

    send(page, three)
    wait_for(page, lambda: "not an image" in "".join(strip_of(page)))
    assert strip_of(page)[:2] == ["red.png: 1 predictions", "black.png: 0 predictions"]
    assert text_of(page, "summary") == "1 object found."
    page.find_elements("css selector", "#strip button")[1].click()
    wait_for(page, lambda: text_of(page, "summary") == "No objects found at this confidence.")
    page.switch_to.active_element.send_keys(Keys.ARROW_RIGHT)
    wait_for(page, lambda: "not an image in a supported format" in text_of(page, "problem"))
    page.switch_to.active_element.send_keys(Keys.ARROW_RIGHT)  # there is no fourth
    page.switch_to.active_element.send_keys(Keys.ARROW_LEFT)
    page.switch_to.active_element.send_keys(Keys.ARROW_LEFT)
    wait_for(page, lambda: text_of(page, "summary") == "1 object found.")
    pressed = [
        button.get_attribute("aria-pressed") for button in page.find_elements("css selector", "#strip button")
    ]
    assert pressed == ["true", "false", "false"]


@pytest.mark.parametrize(("count", "note"), [(32, ""), (33, "The first 32 of 33 images.")])
def test_a_strip_has_at_most_32_images(page, tmp_path, red, count, note):
    for i in range(count):
        (tmp_path / f"{i}.png").write_bytes(red.read_bytes())
    send(page, "\n".join(str(tmp_path / f"{i}.png") for i in range(count)))
    wait_for(page, lambda: len(strip_of(page)) == 32 and all("1 pred" in label for label in strip_of(page)))
    assert text_of(page, "strip-note") == note


def test_an_image_that_the_browser_cannot_show_is_drawn_from_the_services_jpeg(page, tmp_path):
    path = tmp_path / "red.tif"
    path.write_bytes(image_bytes(golden_image(), "TIFF"))
    send(page, path)
    wait_for(page, lambda: text_of(page, "summary") == "1 object found.")
    wait_for(page, lambda: page.find_element("id", "image").is_displayed())
    script = """
        const canvas = document.getElementById('image'), pixel = canvas.width / 64;
        return [...canvas.getContext('2d').getImageData(20 * pixel, 30 * pixel, 1, 1).data];
    """
    assert page.execute_script(script)[:3] == pytest.approx(golden_image()[30, 20].tolist(), abs=6)


def test_the_example_shows_objects_without_an_image_at_hand(page):
    page.find_element("id", "example").click()
    wait_for(page, lambda: text_of(page, "summary") == "1 object found.")


def hot_rows(page):
    return [row.text.split()[0] for row in page.find_elements("css selector", "#detections .hot")]


def test_a_row_and_its_box_highlight_each_other(page, red):
    from selenium.webdriver import ActionChains

    send(page, red)
    wait_for(page, lambda: text_of(page, "summary") == "1 object found.")
    inside = """
        const canvas = document.getElementById('image'), pixel = canvas.width / 64;
        return [...canvas.getContext('2d').getImageData(20 * pixel, 30 * pixel, 1, 1).data];
    """
    plain = page.execute_script(inside)
    row = page.find_element("css selector", "#detections li")
    ActionChains(page).move_to_element(row).perform()
    wait_for(page, lambda: page.execute_script(inside) != plain)
    ActionChains(page).move_to_element(page.find_element("id", "model")).perform()
    wait_for(page, lambda: page.execute_script(inside) == plain)
    image = page.find_element("id", "image")
    ActionChains(page).move_to_element_with_offset(
        image, -96, -16
    ).perform()  # (20, 30) of 64, 8 times enlarged
    wait_for(page, lambda: hot_rows(page) == ["red"])
    ActionChains(page).move_to_element_with_offset(image, 250, 250).perform()
    wait_for(page, lambda: hot_rows(page) == [])


def is_whole(file):
    """Return whether the browser has written a file; it first makes an empty file of that name."""
    return file.exists() and file.stat().st_size > 0 and not [*file.parent.glob("*.crdownload")]


def test_the_answer_and_the_drawn_image_can_be_saved(page, red, tmp_path):
    page.execute_cdp_cmd("Browser.setDownloadBehavior", {"behavior": "allow", "downloadPath": str(tmp_path)})
    send(page, red)
    wait_for(page, lambda: text_of(page, "summary") == "1 object found.")
    page.find_element("id", "save-json").click()
    wait_for(page, lambda: is_whole(tmp_path / "red.json"))
    assert json.loads((tmp_path / "red.json").read_text())["predictions"][0]["class"] == "red"
    page.find_element("id", "save-image").click()
    wait_for(page, lambda: is_whole(tmp_path / "red.drawn.png"))
    drawn = cv2.imread(str(tmp_path / "red.drawn.png"), cv2.IMREAD_COLOR_RGB)
    assert drawn.shape == (64, 64, 3)
    assert (drawn[30, 20] == golden_image()[30, 20]).all()  # inside of the box
    assert (drawn != golden_image()).any()


def test_the_command_holds_what_was_changed_and_nothing_else(page, red):
    assert text_of(page, "address").endswith("/detect")
    page.find_element("css selector", "#top-k input[value='1']").click()
    wait_for(page, lambda: text_of(page, "address").endswith("/detect?top_k=1"))


def test_another_model_answers_the_same_image_and_is_named_in_the_command(browser, start, tmp_path, red):
    build_classifier(tmp_path / "both")
    browser.get(start(repository=build_artifact(tmp_path / "both").repository).url)
    wait_for(browser, lambda: "colours 1" in text_of(browser, "model"))
    send(browser, red)
    wait_for(browser, lambda: text_of(browser, "summary") == "Most likely red, 86%.")
    assert text_of(browser, "address").endswith("/detect")  # the default needs no name
    browser.find_element("css selector", "#model-choice option[value=tiny]").click()
    wait_for(browser, lambda: text_of(browser, "summary") == "1 object found.")
    assert text_of(browser, "detections-title") == "OBJECTS"
    assert text_of(browser, "address").endswith("/detect?model=tiny")
    assert browser.find_element("id", "conf").is_displayed()


def test_a_minimum_confidence_between_marks_is_shown_and_sent_as_it_is(browser, start, tmp_path, red):
    settings = {"selection": "graph", "candidates": 4, "defaults": {"conf": 0.62, "iou": 0.5, "max_det": 9}}
    built = build_artifact(tmp_path / "set", changes={"task_settings": settings})
    browser.get(start(repository=built.repository).url)
    wait_for(browser, lambda: text_of(browser, "conf-value") == "0.62")
    assert browser.find_element("id", "conf").get_attribute("value") == "0.62"


@pytest.mark.parametrize(("count", "end"), [(20, "c18, c19."), (21, "c18, c19 and 1 more.")])
def test_the_classes_are_listed_up_to_twenty(browser, start, tmp_path, count, end):
    built = build_artifact(tmp_path / "many", changes={"class_names": [f"c{i}" for i in range(count)]})
    browser.get(start(repository=built.repository).url)
    wait_for(browser, lambda: text_of(browser, "classes").startswith("This model knows c0, c1, "))
    assert text_of(browser, "classes").endswith(end)


def test_every_control_has_a_name(page):
    for control in page.find_elements("css selector", "input, select"):
        if control.is_displayed():
            assert control.accessible_name, control.get_attribute("outerHTML")


def test_a_narrow_screen_needs_no_sideways_scrolling(page, red):
    send(page, red)
    wait_for(page, lambda: len(active_experts(page)) == 2)
    page.set_window_size(500, 800)
    try:
        assert page.execute_script("return document.documentElement.scrollWidth <= innerWidth")
    finally:
        page.set_window_size(1280, 900)


def test_the_page_loads_nothing_from_elsewhere(served):
    answer = served.client.get("/")
    assert "default-src 'none'" in answer.headers["content-security-policy"]
    names = [path for path in RULES if path == "/" or path.startswith("/ui/")]
    assert len(names) > 12
    for name in names:
        text = served.client.get(name).text.replace("http://www.w3.org/2000/svg", "")
        assert not re.search("https?://", text), name
