"""The page at /docs in a real browser that can reach only the service."""

import json

import pytest

from tests.browser import open_browser
from tests.builders import golden_image, image_bytes


@pytest.fixture(scope="module")
def browser(tmp_path_factory):
    with open_browser(tmp_path_factory.mktemp("profile")) as driver:
        yield driver


def wait_for(browser, condition):
    from selenium.webdriver.support.wait import WebDriverWait

    WebDriverWait(browser, 30).until(lambda _: condition())


def requested(browser):
    """Return every address that the page asked for, the ones inside it left out (data:, blob:)."""
    events = [json.loads(entry["message"])["message"] for entry in browser.get_log("performance")]
    urls = [
        event["params"]["request"]["url"]
        for event in events
        if event["method"] == "Network.requestWillBeSent"
    ]
    return [url for url in urls if url.startswith(("http:", "https:", "ws:", "wss:"))]


def test_it_draws_every_operation_and_asks_nobody_but_the_service(browser, served):
    browser.get("about:blank")
    browser.get_log("performance")
    browser.get(f"{served.url}/docs")
    wait_for(browser, lambda: browser.find_elements("css selector", ".opblock"))
    described = served.client.get("/openapi.json").json()["paths"]
    drawn = browser.find_elements("css selector", ".opblock-summary-path")
    operations = [path for path, methods in described.items() for _ in methods]
    assert sorted(item.get_attribute("data-path") for item in drawn) == sorted(operations)
    urls = requested(browser)
    assert f"{served.url}/openapi.json" in urls
    assert [url for url in urls if not url.startswith(f"{served.url}/")] == []
    assert browser.get_log("browser") == []  # nothing was blocked, nothing failed


def test_an_operation_can_be_tried_out(browser, served):
    browser.get("about:blank")
    browser.get(f"{served.url}/docs")
    health = "[data-path='/healthz']"
    wait_for(browser, lambda: browser.find_elements("css selector", health))
    browser.find_element("css selector", health).click()
    wait_for(browser, lambda: browser.find_elements("css selector", ".try-out__btn"))
    browser.find_element("css selector", ".try-out__btn").click()
    browser.find_element("css selector", ".execute").click()
    wait_for(
        browser, lambda: browser.find_elements("css selector", ".live-responses-table .response-col_status")
    )
    answer = browser.find_element("css selector", ".live-responses-table").text
    assert '"status": "ok"' in answer


def test_an_image_can_be_sent(browser, served, tmp_path):
    path = tmp_path / "red.png"
    path.write_bytes(image_bytes(golden_image()))
    browser.get("about:blank")
    browser.get(f"{served.url}/docs")
    detect = "[data-path='/detect']"
    wait_for(browser, lambda: browser.find_elements("css selector", detect))
    browser.find_element("css selector", detect).click()
    wait_for(browser, lambda: browser.find_elements("css selector", ".try-out__btn"))
    assert "null" not in browser.find_element("css selector", ".parameters").text  # what a query cannot say
    browser.find_element("css selector", ".try-out__btn").click()
    body = ".opblock-section-request-body input[type=file]"
    wait_for(browser, lambda: browser.find_elements("css selector", body))
    browser.find_element("css selector", body).send_keys(str(path))
    browser.find_element("css selector", ".execute").click()
    answer = ".live-responses-table .microlight"
    wait_for(browser, lambda: browser.find_elements("css selector", answer))
    assert '"class": "red"' in browser.find_element("css selector", answer).text


@pytest.mark.parametrize("path", ["/docs", "/docs/start.js", "/docs/swagger-ui.js", "/docs/swagger-ui.css"])
def test_each_of_its_files_forbids_what_is_from_elsewhere(served, path):
    answer = served.client.get(path)
    assert answer.status_code == 200
    policy = answer.headers["content-security-policy"]
    assert "default-src 'none'; script-src 'self'; style-src 'self';" in policy
    assert "unsafe" not in policy
