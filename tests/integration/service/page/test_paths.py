"""The web page says which path an image took, in a real browser."""

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
