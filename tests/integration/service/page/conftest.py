"""A real browser for the tests of the web page."""

import pytest

from tests.browser import open_browser


@pytest.fixture(scope="module")
def browser(tmp_path_factory):
    with open_browser(tmp_path_factory.mktemp("profile")) as driver:
        driver.implicitly_wait(5)
        yield driver
