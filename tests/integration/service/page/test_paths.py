"""The web page says which path an image took, in a real browser."""

import numpy as np

from tests.builders import image_bytes
from tests.integration.service.conftest import serve, wait_until_ready
from tests.integration.service.page.driving import open_page, send, text_of, wait_for
from tests.path_artifacts import BLUE, build_paths, path_probs


def test_the_path_stands_above_the_experts(browser, tmp_path):
    build_paths(tmp_path, name="tiny")
    file = tmp_path / "blue.png"
    file.write_bytes(image_bytes(BLUE))
    with serve(repository=tmp_path) as running:
        assert wait_until_ready(running).status_code == 200
        page = open_page(browser, running.url)
        send(page, file)
        wait_for(page, lambda: text_of(page, "summary") == "1 object found.")
        (line,) = page.find_elements("css selector", "#layers .path")
        assert line.text == f"Path 2, {path_probs(BLUE)[2]:.0%}"


def test_a_map_is_about_the_path(browser, tmp_path):
    build_paths(tmp_path, name="tiny")
    pixels = np.full((64, 64, 3), 120, np.uint8)
    pixels[:32, :32] = (0, 0, 255)
    file = tmp_path / "corner.png"
    file.write_bytes(image_bytes(pixels))
    with serve(repository=tmp_path, explain=True) as running:
        assert wait_until_ready(running).status_code == 200
        page = open_page(browser, running.url)
        send(page, file)
        wait_for(page, lambda: page.find_element("id", "explain").is_displayed())
        page.find_element("id", "explain").click()
        wait_for(page, lambda: page.find_element("id", "map").is_displayed())
        words = text_of(page, "map-words")
        assert words.startswith("The upper left part of the image speaks most for path 2.")
        assert "the odds of this path become" in words
        assert "+ speaks for path 2" in text_of(page, "map-legend")
