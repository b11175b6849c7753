"""The web page draws masks, keypoints and turned boxes, in a real browser."""

import base64
import colorsys

import cv2
import numpy as np
import pytest
from selenium.webdriver import ActionChains
from selenium.webdriver.support.wait import WebDriverWait

from tests.builders import image_bytes
from tests.integration.service.conftest import serve, wait_until_ready
from tests.onnx_builders import build_constant

GREY = (100, 100, 100)
ZOOM = 8  # the page shows an image of 64 x 64 pixels 8 times enlarged
FOUND = {
    "boxes_xyxy": np.array([[[8, 8, 56, 56]]], np.float32),
    "scores": np.array([[0.9]], np.float32),
    "class_ids": np.array([[1]], np.int32),
}
ANSWER = {f"det_{role}": array[0] for role, array in FOUND.items()}
POINTS = np.array([[[[16, 20, 0.9], [48, 20, 0.5], [32, 48, 0.4]]]], np.float32)


def mask_with_a_hole():
    """Return prototypes (1, 2, 16, 16) whose sum is negative in a hole of 16 x 16 pixels, and the mask."""
    profile = np.where((np.arange(16) >= 6) & (np.arange(16) < 10), -1, 3)
    prototypes = np.stack([np.broadcast_to(profile, (16, 16)), np.broadcast_to(profile[:, None], (16, 16))])
    along = np.interp(np.arange(64) + 0.5, np.arange(16) * 4 + 2, profile)
    mask = along[:, None] + along > 0
    mask[:8] = mask[56:] = mask[:, :8] = mask[:, 56:] = False
    return prototypes[None].astype(np.float16), mask


@pytest.fixture(scope="module")
def served(tmp_path_factory):
    repository = tmp_path_factory.mktemp("shapes")
    prototypes, mask = mask_with_a_hole()
    found = FOUND | {"mask_coefficients": np.ones((1, 1, 2), np.float32), "prototypes": prototypes}
    answer = ANSWER | {"det_masks": np.packbits(mask[None], axis=-1)}
    build_constant(repository, "segment", {"mask_stride": 4, "prototypes": 2}, found, answer)
    skeleton = {"keypoints": ["nose", "left", "right"], "skeleton": [[0, 1], [0, 2]]}
    answer = ANSWER | {"det_keypoints": POINTS[0]}
    build_constant(repository, "pose", skeleton, FOUND | {"keypoints": POINTS}, answer)
    found = FOUND | {"boxes_xyxy": np.array([[[16, 24, 48, 40]]], np.float32)}
    found |= {"angles": np.array([[np.pi / 4]], np.float32)}
    answer = ANSWER | {"det_boxes_xyxy": found["boxes_xyxy"][0], "det_angles": found["angles"][0]}
    build_constant(repository, "obb", {}, found, answer)
    with serve(repository=repository, backends="onnx", default_model="obb") as running:
        assert wait_until_ready(running).status_code == 200, wait_until_ready(running).text
        yield running


def wait_for(browser, condition):
    WebDriverWait(browser, 10).until(lambda _: condition())


@pytest.fixture
def show(browser, served, tmp_path):
    """Return a function that sends a grey square image to a model, and waits for its drawn answer."""

    def show_one(model, side=64):
        browser.get(served.url)
        wait_for(browser, lambda: "obb 1" in browser.find_element("id", "model").text)
        browser.find_element("css selector", f"#model-choice option[value={model}]").click()
        path = tmp_path / "grey.png"
        path.write_bytes(image_bytes(np.full((side, side, 3), GREY, np.uint8)))
        browser.find_element("id", "file").send_keys(str(path))
        wait_for(browser, lambda: browser.find_element("id", "summary").text == "1 object found.")
        return canvas_of(browser)

    yield show_one
    assert browser.get_log("browser") == []  # nothing was blocked, nothing failed


def canvas_of(browser):
    """Return the canvas as an RGB image."""
    address = browser.execute_script("return document.getElementById('image').toDataURL('image/png')")
    png = np.frombuffer(base64.b64decode(address.partition(",")[2]), np.uint8)
    return cv2.imdecode(png, cv2.IMREAD_COLOR_RGB)


def at(canvas, x, y):
    """Return the colour at a point of the source image."""
    return tuple(canvas[round(y * ZOOM), round(x * ZOOM)].tolist())


def colour(number, opacity=1.0):
    """Return the colour of a class or keypoint, over grey."""
    hue = (number * 137.5 + 168) % 360 / 360
    mixed = [opacity * 255 * part + (1 - opacity) * 100 for part in colorsys.hls_to_rgb(hue, 0.48, 0.78)]
    return pytest.approx(tuple(mixed), abs=2)


def hover(browser, x, y):
    image = browser.find_element("id", "image")
    ActionChains(browser).move_to_element_with_offset(image, (x - 32) * ZOOM, (y - 32) * ZOOM).perform()


def hot_rows(browser):
    return [row.text.split()[0] for row in browser.find_elements("css selector", "#detections .hot")]


def test_a_mask_is_tinted_and_outlined_and_its_holes_are_not(show):
    canvas = show("segment")
    _, mask = mask_with_a_hole()
    # Pixels away from the mask's outline, the box, and the name above the box.
    near = np.ones((3, 3), np.uint8)
    inside = cv2.erode(mask.astype(np.uint8), near) == 1
    outside = cv2.dilate(mask.astype(np.uint8), near) == 0
    outside[4:8] = False
    assert (inside.sum(), outside.sum()) > (1500, 1000)
    assert outside[32, 32], "in the hole"
    for y, x in np.argwhere(inside):
        assert at(canvas, x + 0.5, y + 0.5) == colour(1, 0.4), (x, y)
    for y, x in np.argwhere(outside):
        assert at(canvas, x + 0.5, y + 0.5) == GREY, (x, y)
    for x, y in ((24, 32), (40, 32), (32, 24), (32, 40)):
        assert at(canvas, x, y) == colour(1), "the outline of the hole"
    for x, y in ((8, 32), (56, 32), (32, 56)):
        assert at(canvas, x, y) == colour(1), "the box"


def test_the_mask_of_a_row_under_the_mouse_is_darker(show, browser):
    show("segment")
    hover(browser, 32, 32)
    wait_for(browser, lambda: hot_rows(browser) == ["green"])
    canvas = canvas_of(browser)
    assert at(canvas, 16, 32) == colour(1, 0.7)
    assert at(canvas, 32, 32) == GREY, "in the hole"


def test_the_command_of_a_segmenter_asks_for_the_masks_that_are_drawn(show, browser, served):
    show("segment")
    address = browser.find_element("id", "address").text
    assert address.endswith("/detect?model=segment&masks=polygon")
    answer = served.client.post(address, content=image_bytes(np.full((64, 64, 3), GREY, np.uint8)))
    assert set(answer.json()["predictions"][0]["mask"]) == {"polygon"}
    show("pose")
    assert browser.find_element("id", "address").text.endswith("/detect?model=pose")


def test_a_skeleton_joins_the_keypoints_that_are_seen(show):
    canvas = show("pose")
    assert at(canvas, 16, 20) == colour(0)
    assert at(canvas, 48, 20) == colour(1)
    assert at(canvas, 32, 20) == colour(1), "the line between them, in the colour of the class"
    assert at(canvas, 32, 48) == GREY, "a keypoint of confidence 0.4"
    assert at(canvas, 24, 34) == GREY, "no line leads there"
    assert at(canvas, 8, 32) == colour(1), "the box"


def test_a_turned_box_is_drawn_through_its_corners(show):
    canvas = show("obb")
    side = np.sqrt(0.5)  # a step along the width leads as far to the right as down
    for along, across in ((16, 0), (-16, 0), (0, 8), (0, -8)):
        x, y = 32 + side * (along - across), 32 + side * (along + across)
        # The pixels of a slanted line are partly grey; one of nine is wholly in the line.
        steps = [(x + dx / ZOOM, y + dy / ZOOM) for dx in (-1, 0, 1) for dy in (-1, 0, 1)]
        assert any(at(canvas, *step) == colour(1) for step in steps), (x, y)
    for x, y in ((32, 32), (48, 32), (16, 32)):
        assert at(canvas, x, y) == GREY, "inside, and where the box was before it was turned"


def test_the_mouse_finds_a_turned_box_where_it_is_drawn(show, browser):
    show("obb")
    hover(browser, 46, 26)  # in the box before it is turned
    hover(browser, 45, 26)
    assert hot_rows(browser) == []
    hover(browser, 42, 42)  # in the turned box
    wait_for(browser, lambda: hot_rows(browser) == ["green"])
    assert at(canvas_of(browser), 42, 42) == colour(1, 0.3)
    hover(browser, 46, 26)
    wait_for(browser, lambda: hot_rows(browser) == [])


def test_the_saved_image_has_the_masks_at_its_own_size(show, browser, tmp_path):
    browser.execute_cdp_cmd(
        "Browser.setDownloadBehavior", {"behavior": "allow", "downloadPath": str(tmp_path)}
    )
    show("segment", side=ZOOM * 64)
    browser.find_element("id", "save-image").click()
    wait_for(browser, (tmp_path / "grey.drawn.png").exists)
    drawn = cv2.imread(str(tmp_path / "grey.drawn.png"), cv2.IMREAD_COLOR_RGB)
    assert drawn.shape == (ZOOM * 64, ZOOM * 64, 3)
    assert at(drawn, 16, 32) == colour(1, 0.4)
    assert at(drawn, 24, 32) == colour(1)
    assert at(drawn, 32, 32) == GREY
