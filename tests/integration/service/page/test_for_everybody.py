"""The web page works in light and dark, from the keyboard, with a screen reader, on a phone and offline."""

import json
from importlib.resources import files

import pytest
from selenium.webdriver import ActionChains
from selenium.webdriver.common.keys import Keys
from selenium.webdriver.support.select import Select

from tests.builders import build_artifact, golden_image, image_bytes
from tests.experts_reports import tiny_report
from tests.integration.service.conftest import serve, wait_until_ready
from tests.integration.service.page.driving import send, text_of, wait_for

WIDE, PHONE = (1280, 900), (375, 812)
AXE = (files("axe_core_python") / "axe.min.js").read_text(encoding="utf-8")


@pytest.fixture(scope="module")
def reported(tmp_path_factory):
    built = build_artifact(tmp_path_factory.mktemp("reported"), report=tiny_report())
    with serve(repository=built.repository, explain=True) as running:
        assert wait_until_ready(running).status_code == 200
        yield running


@pytest.fixture
def page(browser, reported):
    browser.get(reported.url)
    wait_for(browser, lambda: "tiny 1" in text_of(browser, "model"))
    yield browser
    browser.execute_cdp_cmd("Emulation.clearDeviceMetricsOverride", {})
    browser.execute_cdp_cmd("Emulation.setEmulatedMedia", {"features": []})
    browser.execute_script("localStorage.clear()")


def resize(browser, size):
    width, height = size
    metrics = {"width": width, "height": height, "deviceScaleFactor": 1, "mobile": width < 600}
    browser.execute_cdp_cmd("Emulation.setDeviceMetricsOverride", metrics)


def open_everything(page, folder):
    """Show an answer, what moved a router, what an expert serves, a comparison, routes and the charts."""
    path = folder / "red.png"
    path.write_bytes(image_bytes(golden_image()))
    send(page, path)
    wait_for(page, lambda: text_of(page, "summary") == "1 object found.")
    page.find_element("id", "explain").click()
    wait_for(page, lambda: page.find_element("id", "map-legend").is_displayed())
    page.find_element("css selector", "#layers button").click()
    for panel in ("compare", "routes", "live"):
        page.execute_script("document.getElementById(arguments[0]).open = true", panel)
    wait_for(page, lambda: page.find_elements("css selector", "#compare-right-answer .layer"))
    wait_for(page, lambda: page.find_elements("css selector", "#live-charts .shares"))
    page.find_element("id", "routes-example").click()
    wait_for(page, lambda: len(page.find_elements("css selector", "#routes .route")) == 2)
    page.execute_async_script("setTimeout(arguments[0], 300)")  # the fading of the image is over


def violations(page):
    """Return what axe-core finds: the rule, and the element."""
    page.execute_script(AXE)
    found = page.execute_async_script("axe.run().then(arguments[0])")
    assert len(found["passes"]) > 20
    return [(rule["id"], node["html"][:120]) for rule in found["violations"] for node in rule["nodes"]]


@pytest.mark.parametrize("theme", ["light", "dark"])
@pytest.mark.parametrize("size", [WIDE, PHONE])
def test_axe_core_finds_nothing_wrong(page, tmp_path, theme, size):
    resize(page, size)
    Select(page.find_element("id", "theme")).select_by_value(theme)
    assert violations(page) == []  # before the first image
    open_everything(page, tmp_path)
    assert violations(page) == []


def test_axe_core_would_find_a_control_without_a_name_and_letters_that_are_too_pale(page):
    page.execute_script("document.getElementById('theme').removeAttribute('aria-label')")
    page.execute_script("document.getElementById('model').style.color = '#ccc'")
    assert {rule for rule, _ in violations(page)} == {"select-name", "color-contrast"}


def test_a_phone_needs_no_sideways_scrolling(page, tmp_path):
    resize(page, PHONE)
    open_everything(page, tmp_path)
    assert page.execute_script("return document.documentElement.scrollWidth") == PHONE[0]


def ground(page):
    return page.execute_script("return getComputedStyle(document.body).backgroundColor")


def test_colours_follow_the_system_until_one_is_chosen_and_the_choice_stays(page):
    grounds = {}
    for theme in ("light", "dark"):
        features = [{"name": "prefers-color-scheme", "value": theme}]
        page.execute_cdp_cmd("Emulation.setEmulatedMedia", {"features": features})
        grounds[theme] = ground(page)
    assert grounds["light"] != grounds["dark"]
    Select(page.find_element("id", "theme")).select_by_value("light")
    assert ground(page) == grounds["light"]  # although the system is dark
    page.refresh()
    wait_for(page, lambda: "tiny 1" in text_of(page, "model"))
    assert ground(page) == grounds["light"]
    assert page.execute_script("return {...localStorage}") == {"sparsight-theme": "light"}
    Select(page.find_element("id", "theme")).select_by_value("")
    assert ground(page) == grounds["dark"]
    assert page.execute_script("return localStorage.length") == 0


CONTROLS = "button, input, select, summary, a[href]"


def test_every_control_is_reached_with_the_tab_key_and_shows_that_it_is(page, tmp_path):
    open_everything(page, tmp_path)
    page.execute_script("window.reached = new Set(); document.getElementById('theme').focus()")  # the first
    visit = """
        const one = document.activeElement, around = one.closest('.drop, .segments label');
        window.reached.add(one);
        const styles = [one, around ?? one].map((each) => getComputedStyle(each));
        return styles.some((style) => style.outlineStyle !== 'none' && parseFloat(style.outlineWidth) >= 2);
    """
    for _ in range(80):
        if page.execute_script("return document.activeElement === document.body"):
            break
        assert page.execute_script(visit), page.switch_to.active_element.get_attribute("outerHTML")
        ActionChains(page).send_keys(Keys.TAB).perform()
    missed = f"""
        const shown = [...document.querySelectorAll('{CONTROLS}')].filter((one) => one.checkVisibility());
        const stops = shown.filter((one) => one.type !== 'radio' || one.checked);
        return stops.filter((one) => !window.reached.has(one));
    """
    assert [one.get_attribute("outerHTML") for one in page.execute_script(missed)] == []


def test_what_changes_is_told_to_a_screen_reader(page, tmp_path):
    open_everything(page, tmp_path)
    told = page.find_elements("css selector", "[role=status], [role=alert], [aria-live=polite]")
    assert {one.get_attribute("id") for one in told} >= {
        "summary",
        "problem",
        "model",
        "compare-words",
        "explain-note",
        "map-words",
    }
    assert page.find_element("id", "image").accessible_name == "1 object found."
    described = page.find_element("id", page.find_element("id", "image").get_attribute("aria-describedby"))
    assert "part of the image speaks most for expert" in described.text
    open_expert = page.find_element("css selector", "#layers button[aria-expanded=true]")
    assert open_expert.accessible_name == "expert 0 ran with weight 83%; what it serves"


def test_no_request_leaves_the_service(page, reported, tmp_path):
    page.get_log("performance")
    page.refresh()
    open_everything(page, tmp_path)
    messages = [json.loads(entry["message"])["message"] for entry in page.get_log("performance")]
    sent = [one["params"] for one in messages if one["method"] == "Network.requestWillBeSent"]
    addresses = {one["request"]["url"] for one in sent}
    assert len(addresses) > 15
    assert {one for one in addresses if not one.startswith((f"{reported.url}/", "blob:", "data:"))} == set()
