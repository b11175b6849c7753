"""Drives the web page in a real browser."""


def wait_for(browser, condition):
    """Wait until a condition holds."""
    from selenium.common.exceptions import StaleElementReferenceException
    from selenium.webdriver.support.wait import WebDriverWait

    # The page may redraw an element between its being found and its being read.
    wait = WebDriverWait(browser, 10, ignored_exceptions=[StaleElementReferenceException])
    wait.until(lambda _: condition())


def text_of(browser, name):
    """Return the text of the element with an id."""
    return browser.find_element("id", name).text


def send(browser, path):
    """Choose an image file on the page."""
    browser.find_element("id", "file").send_keys(str(path))


def open_page(browser, url):
    """Open the page of a service with the tiny model, and forget what other tests wrote into the log."""
    browser.get(url)
    wait_for(browser, lambda: "tiny 1" in text_of(browser, "model"))
    browser.get_log("browser")
    return browser
