"""The screenshots of the web page show what the starter finds in a drawing, and are small."""

from pathlib import Path

import pytest
from PIL import Image

from tests.builders import image_bytes
from tests.integration.service.conftest import serve, wait_until_ready
from tests.screenshots.__main__ import HERE, MOST_BYTES, REPOSITORY
from tests.screenshots.drawing import draw_smear

NAMES = ("answer", "compare", "experts", "live", "map", "phone")


@pytest.mark.parametrize("name", NAMES)
def test_a_screenshot_is_there_and_small(name):
    path = HERE / f"{name}.png"
    assert path.stat().st_size <= MOST_BYTES
    with Image.open(path) as image:
        assert image.width > 300


def test_no_other_screenshot_lies_in_the_repository():
    assert sorted(path.stem for path in Path(HERE).glob("*.png")) == sorted(NAMES)


def test_the_starter_finds_red_and_white_cells_in_the_drawing():
    with serve(repository=REPOSITORY, default_model="starter") as running:
        assert wait_until_ready(running).status_code == 200
        found = running.detect(image_bytes(draw_smear(0))).json()["predictions"]
    classes = [each["class"] for each in found]
    assert classes.count("RBC") > 15
    assert classes.count("WBC") == 1
    assert set(classes) <= {"RBC", "WBC", "Platelets"}
