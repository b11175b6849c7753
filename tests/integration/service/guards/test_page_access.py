"""The web page of a service that asks for keys, in a real browser."""

import pytest

from service.access.keys import Key, as_text, hash_of, new_key
from service.guard_settings import AccessSettings
from tests.browser import open_browser
from tests.builders import golden_image, image_bytes
from tests.integration.service.conftest import serve
from tests.integration.service.page.driving import send, text_of, wait_for

KEYS = {scope: new_key() for scope in ("detect", "metrics")}


def keys_file(folder):
    """Write a file with the hash of each of the KEYS, and return its path."""
    file = folder / "keys.json"
    listed = [Key(name=f"a-{s}", sha256=hash_of(text.encode()), scopes=(s,)) for s, text in KEYS.items()]
    file.write_text(as_text(listed))
    return file


@pytest.fixture(scope="module")
def url(repository, tmp_path_factory):
    file = keys_file(tmp_path_factory.mktemp("keys"))
    with serve(repository=repository, access=AccessSettings(keys_file=file)) as running:
        yield running.url


@pytest.fixture
def page(tmp_path, url):
    with open_browser(tmp_path / "profile") as browser:
        browser.get(url)
        wait_for(browser, lambda: browser.find_element("id", "key").is_displayed())
        yield browser


def enter(page, key):
    page.find_element("id", "key").send_keys(key, "\n")


def test_the_page_asks_for_a_key_and_then_works(page, tmp_path):
    assert page.find_element("id", "key").get_attribute("type") == "password"
    assert not page.find_element("id", "key-problem").is_displayed()
    assert "tiny" not in page.page_source  # a stranger learns no model's name
    assert page.find_element("css selector", "footer").text == "API"  # no command that would not work yet
    enter(page, "not a key")
    assert page.find_element("id", "key").is_displayed()  # it has spaces, so it is not even sent
    page.find_element("id", "key").clear()
    enter(page, "wrong")
    wait_for(page, lambda: "this key is not known here" in text_of(page, "key-problem"))
    enter(page, KEYS["metrics"])
    wait_for(page, lambda: "use one that has the scope 'detect'" in text_of(page, "key-problem"))
    enter(page, f" {KEYS['detect']} ")
    wait_for(page, lambda: "tiny 1" in text_of(page, "model"))
    assert not page.find_element("id", "key-form").is_displayed()
    assert "Authorization: Bearer $SPARSIGHT_API_KEY" in page.find_element("css selector", "footer").text

    image = tmp_path / "red.png"
    image.write_bytes(image_bytes(golden_image()))
    send(page, image)
    wait_for(page, lambda: text_of(page, "summary") == "1 object found.")
    page.find_element("id", "example").click()
    wait_for(page, lambda: text_of(page, "summary") == "1 object found.")


def test_the_key_is_kept_for_the_tab_and_nowhere_else(page, url):
    enter(page, KEYS["detect"])
    wait_for(page, lambda: "tiny 1" in text_of(page, "model"))
    page.get(url)
    wait_for(page, lambda: "tiny 1" in text_of(page, "model"))
    assert not page.find_element("id", "key-form").is_displayed()
    kept = "return [sessionStorage.getItem('sparsight-key'), localStorage.length, document.cookie]"
    assert page.execute_script(kept) == [KEYS["detect"], 0, ""]
    assert KEYS["detect"] not in page.page_source + page.current_url
    page.switch_to.new_window("tab")
    page.get(url)
    wait_for(page, lambda: page.find_element("id", "key").is_displayed())


def test_the_description_of_the_api_can_be_read_without_a_key(page, url):
    page.get(f"{url}/docs")
    wait_for(page, lambda: "/models/reload" in page.find_element("id", "api").text)
    assert page.find_elements("css selector", ".btn.authorize")
