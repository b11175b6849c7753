"""A real browser for tests of the web pages of the service."""

import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from selenium import webdriver

_BROWSER, _DRIVER = "/usr/bin/chromium", "/usr/bin/chromedriver"
_FLAGS = ("--headless", "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run", "--disable-sync")
_FLAGS += ("--disable-background-networking", "--disable-component-update", "--window-size=1280,900")


@contextmanager
def open_browser(profile: Path, *flags: str) -> Iterator[webdriver.Chrome]:
    """Yield a running Chromium that logs its console and requests; skip the test if Chromium is missing.

    `flags` are further flags of its command line.
    """
    if not (shutil.which(_BROWSER) and shutil.which(_DRIVER)):
        if os.environ.get("CI") == "true":
            pytest.fail("install the Debian packages chromium and chromium-driver")
        pytest.skip("needs the Debian package chromium (and chromium-driver)")
    options = webdriver.ChromeOptions()
    options.binary_location = _BROWSER
    for flag in (*_FLAGS, *flags, f"--user-data-dir={profile}"):
        options.add_argument(flag)
    options.set_capability("goog:loggingPrefs", {"browser": "ALL", "performance": "ALL"})
    driver = webdriver.Chrome(options, webdriver.ChromeService(_DRIVER))
    try:
        yield driver
    finally:
        driver.quit()
