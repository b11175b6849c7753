"""The web page compares the answers to one image with two numbers of experts, in a real browser."""

import pytest
from selenium.webdriver.support.select import Select

from tests.builders import golden_image, image_bytes
from tests.integration.service.page.driving import send, text_of, wait_for


@pytest.fixture
def page(browser, served, tmp_path):
    browser.get(served.url)
    wait_for(browser, lambda: "tiny 1" in text_of(browser, "model"))
    path = tmp_path / "red.png"
    path.write_bytes(image_bytes(golden_image()))
    send(browser, path)
    wait_for(browser, lambda: text_of(browser, "summary") == "1 object found.")
    return browser


def open_comparison(page):
    page.find_element("css selector", "#compare summary").click()
    wait_for(page, lambda: page.find_elements("css selector", "#compare-right-answer .layer"))
    return text_of(page, "compare-words")


def framed(page, side):
    rows = page.find_elements("css selector", f"#compare-{side}-answer .layer")
    return [[item.text for item in row.find_elements("css selector", ".expert.only")] for row in rows]


def test_one_expert_is_compared_with_the_default_of_two(page):
    words = open_comparison(page)
    assert words.startswith("1 found by both, 0 only on the left, 0 only on the right. ")
    assert "0 experts ran only on the left, 2 only on the right." in words
    assert "The left takes 80% of the right's GFLOPs" in words  # 4.8 of 6.0
    assert framed(page, "left") == [[], []]
    assert framed(page, "right") == [["3\n17%"], ["1\n23%"]]
    assert "4.80 of 6.60 GFLOPs used" in text_of(page, "compare-left-answer")
    assert "6.00 of 6.60 GFLOPs used" in text_of(page, "compare-right-answer")
    assert "ms in the network" in text_of(page, "compare-left-answer")


def test_an_object_that_only_one_side_finds_is_named_and_filled(page):
    # With two experts the red object has 75 %, with one 90 %.
    script = """
        const conf = document.getElementById('conf');
        conf.value = 0.8;
        conf.dispatchEvent(new Event('change'));
    """
    page.execute_script(script)
    wait_for(page, lambda: text_of(page, "summary") == "No objects found at this confidence.")
    assert open_comparison(page).startswith("0 found by both, 1 only on the left (red), 0 only on the right.")
    inside = """
        const canvas = document.querySelector('#compare-' + arguments[0] + '-answer canvas');
        const pixel = canvas.width / 64;
        return [...canvas.getContext('2d').getImageData(20 * pixel, 25 * pixel, 1, 1).data].slice(0, 3);
    """
    plain = golden_image()[25, 20].tolist()
    assert page.execute_script(inside, "right") == plain
    assert page.execute_script(inside, "left") != plain


def test_another_choice_is_compared_at_once_and_the_same_number_differs_in_nothing(page):
    open_comparison(page)
    Select(page.find_element("id", "compare-left")).select_by_value("2")
    wait_for(page, lambda: "2 experts per layer" in text_of(page, "compare-left-answer"))
    words = text_of(page, "compare-words")
    assert "0 experts ran only on the left, 0 only on the right." in words
    assert "The left takes 100% of the right's GFLOPs" in words


def test_a_closed_comparison_requests_nothing(page):
    page.get_log("performance")
    page.execute_async_script("setTimeout(arguments[0], 500)")
    sent = [entry["message"] for entry in page.get_log("performance") if "/detect" in entry["message"]]
    assert not [message for message in sent if "Network.requestWillBeSent" in message]


def test_an_image_must_be_chosen_first(browser, served):
    browser.get(served.url)
    wait_for(browser, lambda: "tiny 1" in text_of(browser, "model"))
    browser.find_element("css selector", "#compare summary").click()
    wait_for(browser, lambda: text_of(browser, "compare-words") == "Choose an image first.")


@pytest.mark.parametrize(
    ("moved_by", "alone"),
    [(0, [[], []]), (3, [[], []]), (4, [[0], [0]])],  # of 10 pixels: IoU 1, 7/13 and 6/14
)
def test_two_boxes_of_a_class_are_one_object_from_an_overlap_of_one_half(page, moved_by, alone):
    script = """
        const done = arguments[arguments.length - 1], [moved] = arguments;
        const box = (x) => ({ class_id: 1, x, y: 20, width: 10, height: 10 });
        import('/ui/compare.js').then(({ unmatched }) => done(unmatched([[box(20)], [box(20 + moved)]])));
    """
    assert page.execute_async_script(script, moved_by) == alone


def test_boxes_of_other_classes_are_other_objects(page):
    script = """
        const done = arguments[0], box = (class_id) => ({ class_id, x: 20, y: 20, width: 10, height: 10 });
        const sides = [[box(1), box(1)], [box(2), box(1)]];
        import('/ui/compare.js').then(({ unmatched }) => done(unmatched(sides)));
    """
    assert page.execute_async_script(script) == [[1], [0]]
