"""Take the screenshots of the web page that the READMEs show, of the starter and a drawn blood smear.

The page, the service and the answers are real; only the image is drawn, so that it belongs to this project.
"""

import argparse
import base64
import io
import tempfile
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import httpx
from PIL import Image
from selenium.webdriver import Chrome
from selenium.webdriver.support.select import Select
from selenium.webdriver.support.wait import WebDriverWait

from tests.browser import open_browser
from tests.builders import image_bytes
from tests.integration.service.conftest import serve, wait_until_ready
from tests.screenshots.drawing import draw_smear

HERE = Path(__file__).parent
REPOSITORY = HERE.parents[1] / "model_repository"
MOST_BYTES = 200_000
WIDE, PHONE = (1240, 900), (375, 812)  # CSS pixels
MARGIN = 12
LAYER, EXPERT = "neck.p4", 1  # its report is clear, and the drawing chooses it
LIVE_S = 24  # how long requests run before the charts are shown


def main() -> None:
    """Write every screenshot into a folder."""
    parser = argparse.ArgumentParser("python -m tests.screenshots", description=__doc__)
    parser.add_argument("--output", type=Path, default=HERE, help="folder (default: %(default)s)")
    output = parser.parse_args().output
    output.mkdir(parents=True, exist_ok=True)
    with (
        tempfile.TemporaryDirectory() as folder,
        serve(repository=REPOSITORY, default_model="starter", explain=True) as served,
    ):
        ready = wait_until_ready(served)
        assert ready.status_code == 200, ready.text
        drawings = [Path(folder) / f"smear-{seed}.png" for seed in range(4)]
        for seed, path in enumerate(drawings):
            path.write_bytes(image_bytes(draw_smear(seed)))
        with open_browser(Path(folder) / "profile") as browser:
            take_all(browser, served.url, drawings, output)


def take_all(browser: Chrome, url: str, drawings: list[Path], output: Path) -> None:
    """Take the screenshots, one after the other, in one browser."""
    resize(browser, WIDE)
    browser.get(url)
    wait_for(browser, lambda: "starter" in browser.find_element("id", "model").text)
    for path in [*drawings[1:], drawings[0]]:  # several, so that an expert has images of this tab
        browser.find_element("id", "file").send_keys(str(path))
        wait_for(browser, lambda: "found" in browser.find_element("id", "summary").text)
    wait_for(browser, lambda: browser.find_elements("css selector", ".serves"))
    write(browser, output / "answer.png", "header", "#experts-card")
    browser.find_element("id", "explain").click()
    wait_for(browser, lambda: browser.find_element("id", "map").is_displayed())
    write(browser, output / "map.png", "#drop", "#map-words")
    Select(browser.find_element("id", "map-layer")).select_by_value("")
    browser.find_element("css selector", f"[data-layer='{LAYER}'] li:nth-child({EXPERT + 1}) button").click()
    wait_for(browser, lambda: browser.find_elements("css selector", ".thumbnails canvas"))
    browser.execute_async_script("setTimeout(arguments[0], 1000)")  # the thumbnails are decoded one by one
    write(browser, output / "experts.png", "#experts-card")
    browser.find_element("css selector", "#compare summary").click()
    wait_for(browser, lambda: browser.find_elements("css selector", "#compare-right-answer .layer"))
    write(browser, output / "compare.png", "#compare")
    browser.find_element("css selector", "#compare summary").click()
    with requests_running(url, drawings):
        browser.find_element("css selector", "#live summary").click()
        browser.execute_async_script(f"setTimeout(arguments[0], {LIVE_S * 1000})")
        write(browser, output / "live.png", "#live")
    browser.find_element("css selector", "#live summary").click()
    browser.find_element("css selector", ".expert button[aria-expanded=true]").click()
    Select(browser.find_element("id", "theme")).select_by_value("dark")
    Select(browser.find_element("id", "map-layer")).select_by_value("backbone.p4")
    resize(browser, PHONE)
    browser.execute_async_script(
        "document.activeElement.blur(); scrollTo(0, 0); setTimeout(arguments[0], 500)"
    )
    write(browser, output / "phone.png", "header", "#controls-card")


def resize(browser: Chrome, size: tuple[int, int]) -> None:
    """Give the page another size; unlike a window, it may be as narrow as a phone."""
    width, height = size
    metrics = {"width": width, "height": height, "deviceScaleFactor": 1, "mobile": width < 600}
    browser.execute_cdp_cmd("Emulation.setDeviceMetricsOverride", metrics)
    browser.execute_cdp_cmd("Emulation.setScrollbarsHidden", {"hidden": True})  # a clip's width is the page's


def wait_for(browser: Chrome, condition: Callable[[], object]) -> None:
    """Wait until a condition holds; raise TimeoutException after 60 seconds."""
    WebDriverWait(browser, 60).until(lambda _: condition())


@contextmanager
def requests_running(url: str, drawings: list[Path]) -> Iterator[None]:
    """Send the drawings again and again, as other callers would."""
    stop = threading.Event()

    def send() -> None:
        with httpx.Client(base_url=url, timeout=60, trust_env=False) as client:
            while not stop.is_set():
                for top_k, path in enumerate(drawings, 1):
                    client.post("/detect", params={"top_k": top_k}, content=path.read_bytes())

    thread = threading.Thread(target=send)
    thread.start()
    try:
        yield
    finally:
        stop.set()
        thread.join()


def write(browser: Chrome, path: Path, *selectors: str) -> None:
    """Write the part of the page that holds the elements as a PNG; if it is too large, with 256 colours.

    Raises:
        ValueError: the file would be larger than MOST_BYTES.
    """
    script = """
        const boxes = arguments[0].map((each) => document.querySelector(each).getBoundingClientRect());
        const left = Math.min(...boxes.map((box) => box.left));
        const top = Math.min(...boxes.map((box) => box.top));
        const right = Math.max(...boxes.map((box) => box.right));
        const bottom = Math.max(...boxes.map((box) => box.bottom));
        return [left + scrollX, top + scrollY, right - left, bottom - top];
    """
    x, y, width, height = browser.execute_script(script, selectors)
    if {"header", "#drop"} & set(selectors):  # a part of the page, with its margin; otherwise a card alone
        x, width, height = x - MARGIN, width + 2 * MARGIN, height + MARGIN
    clip = {"x": x, "y": y, "width": width, "height": height, "scale": 1}
    shot = {"format": "png", "clip": clip, "captureBeyondViewport": True}
    taken = browser.execute_cdp_cmd("Page.captureScreenshot", shot)["data"]
    image = Image.open(io.BytesIO(base64.b64decode(taken))).convert("RGB")
    image.save(path, optimize=True)
    if path.stat().st_size > MOST_BYTES:
        image.quantize(256, dither=Image.Dither.NONE).save(path, optimize=True)
    size = path.stat().st_size
    if size > MOST_BYTES:
        raise ValueError(f"{path} has {size:,} bytes; at most {MOST_BYTES:,} are allowed")
    print(f"{path}: {image.width} x {image.height}, {size:,} bytes")


if __name__ == "__main__":
    main()
