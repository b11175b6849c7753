"""The web page sends the frames of a camera, in a real browser with a simulated camera."""

import json
import re
from itertools import pairwise

import pytest

from tests.browser import open_browser
from tests.builders import golden_image, image_bytes
from tests.integration.service.page.driving import text_of, wait_for

FAKE = ("--use-fake-device-for-media-stream", "--use-fake-ui-for-media-stream")  # and nobody is asked


@pytest.fixture(scope="module")
def browser(tmp_path_factory):
    with open_browser(tmp_path_factory.mktemp("profile"), *FAKE) as driver:
        driver.implicitly_wait(5)
        yield driver


@pytest.fixture
def page(browser, served):
    browser.get(served.url)
    wait_for(browser, lambda: "tiny 1" in text_of(browser, "model"))
    browser.get_log("browser")
    browser.get_log("performance")
    return browser


def wait_ms(page, milliseconds):
    page.execute_async_script(f"setTimeout(arguments[0], {milliseconds})")


def requests_of(page):
    """Return when each request to /detect began and ended, in seconds; an unfinished one has no end."""
    began, ended = {}, {}
    for entry in page.get_log("performance"):
        message = json.loads(entry["message"])["message"]
        params = message["params"]
        match message["method"]:
            case "Network.requestWillBeSent" if "/detect" in params["request"]["url"]:
                began[params["requestId"]] = params["timestamp"]
            case "Network.loadingFinished" if params["requestId"] in began:
                ended[params["requestId"]] = params["timestamp"]
    return [(start, ended.get(name)) for name, start in began.items()]


def test_frames_are_answered_one_after_the_other_until_the_camera_is_stopped(page):
    # Answers take longer than a frame, so that frames that do not wait would overlap.
    slow = {"offline": False, "latency": 150, "downloadThroughput": -1, "uploadThroughput": -1}
    page.execute_cdp_cmd("Network.emulateNetworkConditions", slow)
    page.find_element("id", "camera").click()
    rate = re.compile(r"\d+\.\d frames per second, one after the other")
    wait_for(page, lambda: rate.fullmatch(text_of(page, "camera-note")))
    assert text_of(page, "camera") == "Stop the camera"
    assert page.find_element("id", "image").is_displayed()
    assert page.find_element("id", "summary").get_attribute("aria-live") == "off"  # not told frame by frame
    wait_ms(page, 1000)
    page.find_element("id", "camera").click()
    wait_for(page, lambda: text_of(page, "camera-note") == "The camera is off.")
    assert text_of(page, "camera") == "Use the camera"
    sent = requests_of(page)
    assert len(sent) > 3
    for (_, end), (start, _) in pairwise(sent):
        assert end is not None
        assert end <= start, "two frames at once"
    wait_ms(page, 1000)
    assert requests_of(page) == []
    assert page.get_log("browser") == []
    page.execute_cdp_cmd("Network.emulateNetworkConditions", slow | {"latency": 0})


def test_the_stated_rate_is_that_of_the_answers(page):
    page.find_element("id", "camera").click()
    wait_for(page, lambda: "frames per second" in text_of(page, "camera-note"))
    wait_ms(page, 4000)
    stated = float(text_of(page, "camera-note").split()[0])
    page.find_element("id", "camera").click()
    wait_for(page, lambda: text_of(page, "camera-note") == "The camera is off.")
    ends = [end for _, end in requests_of(page) if end is not None]
    latest = [end for end in ends if end > ends[-1] - 3]
    assert stated == pytest.approx((len(latest) - 1) / (latest[-1] - latest[0]), rel=0.4)


def test_the_last_frame_stays_as_an_image_and_can_be_answered_again(page):
    page.find_element("id", "camera").click()
    wait_for(page, lambda: "frames per second" in text_of(page, "camera-note"))
    page.find_element("id", "camera").click()
    wait_for(page, lambda: text_of(page, "camera-note") == "The camera is off.")
    page.find_element("css selector", "#top-k input[value='1']").click()
    only = [["100%"], ["100%"]]
    wait_for(
        page, lambda: [texts(row) for row in page.find_elements("css selector", "#layers .layer")] == only
    )


def texts(row):
    return [item.text.split()[1] for item in row.find_elements("css selector", ".expert.active")]


def test_an_image_that_is_chosen_stops_the_camera(page, tmp_path):
    path = tmp_path / "red.png"
    path.write_bytes(image_bytes(golden_image()))
    page.find_element("id", "camera").click()
    wait_for(page, lambda: "frames per second" in text_of(page, "camera-note"))
    page.find_element("id", "file").send_keys(str(path))
    wait_for(page, lambda: text_of(page, "camera-note") == "The camera is off.")
    wait_for(page, lambda: text_of(page, "summary") == "1 object found.")
    wait_ms(page, 500)
    assert page.find_element("id", "image").size == {"width": 512, "height": 512}  # the chosen one


def test_without_permission_the_page_says_so(tmp_path, served):
    with open_browser(tmp_path / "profile", FAKE[0], "--deny-permission-prompts") as browser:
        browser.get(served.url)
        wait_for(browser, lambda: "tiny 1" in text_of(browser, "model"))
        browser.find_element("id", "camera").click()
        sentence = "The browser does not let this page use a camera."
        wait_for(browser, lambda: text_of(browser, "camera-note") == sentence)
        assert text_of(browser, "camera") == "Use the camera"


def test_the_comparison_waits_until_the_camera_is_stopped(page, tmp_path):
    path = tmp_path / "red.png"
    path.write_bytes(image_bytes(golden_image()))
    page.find_element("id", "file").send_keys(str(path))
    wait_for(page, lambda: text_of(page, "summary") == "1 object found.")
    page.find_element("css selector", "#compare summary").click()
    wait_for(page, lambda: page.find_elements("css selector", "#compare-right-answer .layer"))
    page.find_element("id", "camera").click()
    sentence = "Stop the camera to compare its last frame."
    wait_for(page, lambda: text_of(page, "compare-words") == sentence)
    wait_for(page, lambda: "frames per second" in text_of(page, "camera-note"))
    assert text_of(page, "compare-right-answer") == ""  # not the boxes of another image
    page.find_element("id", "camera").click()
    wait_for(page, lambda: "found by both" in text_of(page, "compare-words"))
