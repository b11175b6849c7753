"""The web page shows the routes of three images side by side, in a real browser."""

import pytest
from selenium.webdriver.support.select import Select

from tests.builders import build_classifier, golden_image, image_bytes
from tests.integration.service.conftest import serve, wait_until_ready
from tests.integration.service.page.driving import open_page, send, text_of, wait_for
from tests.path_artifacts import BLUE, GREEN, RED, build_paths, path_probs

COLOURS = {"red": RED, "green": GREEN, "blue": BLUE}


@pytest.fixture(scope="module")
def routed(tmp_path_factory):
    built = build_paths(tmp_path_factory.mktemp("routed"), name="tiny")
    with serve(repository=built.repository) as running:
        assert wait_until_ready(running).status_code == 200
        yield running


def files_of(folder, *names):
    for name in names:
        (folder / f"{name}.png").write_bytes(image_bytes(COLOURS[name]))
    return "\n".join(str(folder / f"{name}.png") for name in names)


def open_routes(page):
    page.find_element("css selector", "#routes summary").click()
    wait_for(page, lambda: words(page))  # a panel learns that it was opened after the click has returned


def words(page):
    return page.find_element("css selector", "#routes [role=status]").text


def columns(page):
    """Return the text of each image that is shown, without the numbers inside the map."""
    shown = [
        each for each in page.find_elements("css selector", "#routes .thirds > div") if each.is_displayed()
    ]
    return [[line.text for line in each.find_elements("css selector", "p")] for each in shown]


def maps(page):
    return [each.get_attribute("aria-label") for each in page.find_elements("css selector", "#routes .route")]


@pytest.mark.parametrize("many", [3, 4])
def test_three_images_show_three_paths_and_what_runs_only_there(browser, routed, tmp_path, many):
    page = open_page(browser, routed.url)
    send(page, files_of(tmp_path, "red", "green", "blue", *(["red"] if many == 4 else [])))
    open_routes(page)
    wait_for(page, lambda: "takes path" in words(page))
    assert words(page) == (
        "red.png takes path 0, green.png takes path 1, blue.png takes path 2. "
        "The experts differ in 2 of 2 layers."
    )
    assert columns(page) == [
        [f"Path 0, {path_probs(RED)[0]:.0%}", "Only here: expert 0 of backbone.p4."],
        [f"Path 1, {path_probs(GREEN)[1]:.0%}", "Only here: expert 1 of backbone.p4."],
        [f"Path 2, {path_probs(BLUE)[2]:.0%}", "Only here: expert 2 of backbone.p4."],
    ]
    assert maps(page) == [
        "Route. backbone.p4: expert 0 75%, expert 3 25%; backbone.p5: expert 0 60%, expert 1 40%",
        "Route. backbone.p4: expert 1 75%, expert 3 25%; backbone.p5: expert 1 60%, expert 2 40%",
        "Route. backbone.p4: expert 2 75%, expert 3 25%; backbone.p5: expert 0 40%, expert 2 60%",
    ]
    assert page.get_log("browser") == []  # nothing was blocked, nothing failed


def test_a_map_joins_the_experts_that_ran_and_its_lines_are_as_thick_as_their_weights(
    browser, routed, tmp_path
):
    page = open_page(browser, routed.url)
    send(page, files_of(tmp_path, "red", "green"))
    open_routes(page)
    wait_for(page, lambda: len(maps(page)) == 2)
    first = page.find_element("css selector", "#routes .route")
    widths = [
        float(line.get_attribute("stroke-width")) for line in first.find_elements("css selector", "line")
    ]
    thickest = 9
    assert widths == pytest.approx([thickest * each for each in (0.75 * 0.6, 0.75 * 0.4, 0.25 * 0.6, 1 / 9)])
    ran = [each.text for each in first.find_elements("css selector", ".ran text")]
    idle = [each.text for each in first.find_elements("css selector", ".idle text")]
    assert (ran, idle) == (["0", "3", "0", "1"], ["1", "2", "2"])
    assert len(first.find_elements("css selector", ".ring")) == 2, "expert 0 of both layers"
    canvas = page.find_element("css selector", "#routes .answer canvas")
    assert canvas.accessible_name == "red.png: 1 found"
    inside = (
        "const c = arguments[0]; return [...c.getContext('2d').getImageData(1, 1, 1, 1).data].slice(0, 3)"
    )
    wait_for(page, lambda: page.execute_script(inside, canvas) == RED[0, 0].tolist())


def test_images_are_added_and_others_chosen_and_fewer_experts_change_the_routes(browser, routed, tmp_path):
    page = open_page(browser, routed.url)
    open_routes(page)
    assert words(page) == "Add images, or choose several above."
    page.find_element("css selector", "#routes input").send_keys(files_of(tmp_path, "red", "green"))
    wait_for(page, lambda: len(maps(page)) == 2)
    page.find_element("css selector", "#routes input").send_keys(files_of(tmp_path, "blue"))
    page.find_element("id", "routes-example").click()
    wait_for(page, lambda: len(page.find_elements("css selector", "#strip button")) == 4)
    wait_for(page, lambda: "blue.png takes path 2" in words(page))
    select = Select(page.find_element("css selector", "#routes select"))
    assert [one.text for one in select.options] == ["red.png", "green.png", "blue.png", "example.png"]
    select.select_by_visible_text("example.png")
    wait_for(page, lambda: words(page).startswith("example.png takes path 0, green.png"))
    page.find_element("css selector", "#top-k input[value='1']").click()
    wait_for(page, lambda: "Route. backbone.p4: expert 0 100%; backbone.p5: expert 0 100%" in maps(page))


def test_added_images_leave_the_answers_that_there_are(browser, routed, tmp_path):
    page = open_page(browser, routed.url)
    send(page, files_of(tmp_path, "red"))
    wait_for(page, lambda: text_of(page, "summary") == "1 object found.")
    open_routes(page)
    page.get_log("performance")
    page.find_element("id", "routes-example").click()
    wait_for(page, lambda: len(maps(page)) == 2)
    entries = [entry["message"] for entry in page.get_log("performance") if "/detect" in entry["message"]]
    assert len([message for message in entries if '"Network.requestWillBeSent"' in message]) == 1


def test_an_image_without_an_answer_says_why(browser, routed, tmp_path):
    page = open_page(browser, routed.url)
    (tmp_path / "note.txt").write_text("hello")
    send(page, f"{files_of(tmp_path, 'red', 'green')}\n{tmp_path / 'note.txt'}")
    open_routes(page)
    wait_for(page, lambda: len(columns(page)) == 3 and "not an image" in columns(page)[2][0])
    assert words(page).startswith("red.png takes path 0, green.png takes path 1.")


def test_a_model_that_routes_in_each_layer_has_the_same_map_without_paths(browser, served, tmp_path):
    page = open_page(browser, served.url)
    files_of(tmp_path, "red", "blue")
    (tmp_path / "red.png").write_bytes(image_bytes(golden_image()))
    send(page, "\n".join(str(tmp_path / f"{name}.png") for name in ("red", "blue")))
    open_routes(page)
    wait_for(page, lambda: "The experts differ in" in words(page))
    assert (
        maps(page)[0]
        == "Route. backbone.p4: expert 0 83%, expert 3 17%; backbone.p5: expert 1 23%, expert 2 77%"
    )
    assert not page.find_elements("css selector", "#routes .path")


def test_two_equal_images_take_the_same_experts(browser, served, tmp_path):
    page = open_page(browser, served.url)
    for name in ("one", "two"):
        (tmp_path / f"{name}.png").write_bytes(image_bytes(golden_image()))
    send(page, f"{tmp_path / 'one.png'}\n{tmp_path / 'two.png'}")
    open_routes(page)
    wait_for(page, lambda: words(page) == "The same experts ran for all of them.")
    assert columns(page) == [["No expert runs only here."]] * 2
    assert not page.find_elements("css selector", "#routes .ring")


def test_no_expert_or_several_that_run_only_for_one_image_are_drawn_and_named(browser, served):
    page = open_page(browser, served.url)
    script = """
        const done = arguments[0];
        const layer = (active) => ({ layer: "neck", experts: 3, active, weights: active.map(() => 0.5) });
        const answers = [[0, 1], [], [1]].map((active) => ({ moe: { layers: [layer(active)] } }));
        import('/ui/routes.js').then(({ onlyHere, routeMap }) => {
            const only = onlyHere(answers);
            const map = routeMap(answers[1].moe.layers, only[1]);
            const ran = map.querySelectorAll(".ran").length;
            done([only, onlyHere(answers.slice(0, 1)), map.getAttribute("aria-label"), ran]);
        });
    """
    only, alone, label, ran = page.execute_async_script(script)
    assert only == [[[0]], [[]], [[]]]
    assert alone == [[[]]], "one image has nothing to differ from"
    assert (label, ran) == ("Route. neck: no expert", 0)


def test_a_model_without_experts_has_no_routes(browser, start, tmp_path):
    built = build_classifier(tmp_path / "plain", name="tiny", experts=False)
    page = open_page(browser, start(repository=built.repository).url)
    assert not page.find_element("id", "routes").is_displayed()
