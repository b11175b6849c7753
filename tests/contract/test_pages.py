"""Links and paths in the Markdown pages exist, and the service's page lists every setting and parameter."""

import json
import re
from pathlib import Path

import pytest

from service.__main__ import _list_settings
from service.errors import slug_of
from service.rest.problems import STATUS

ROOT = Path(__file__).resolve().parents[2]
ROOMS = ("clients", "deploy", "model_repository", "service", "tests", "training")
PAGES = [*ROOT.glob("*.md"), *(page for room in ROOMS for page in (ROOT / room).rglob("*.md"))]
LINK = re.compile(r"\]\(([^)\s]+)\)")
HEADING = re.compile(r"^#+ (.+)$", re.MULTILINE)
OPENAPI = json.loads((ROOT / "service" / "rest" / "openapi.json").read_text(encoding="utf-8"))
PARAMETERS = [parameter["name"] for parameter in OPENAPI["paths"]["/detect"]["post"]["parameters"]]
GATEWAY = (ROOT / "service" / "README.md").read_text(encoding="utf-8")


def anchors_of(page):
    """Return the link anchors of a page's headings: lower case, hyphens for spaces, no punctuation."""
    headings = HEADING.findall(page.read_text(encoding="utf-8"))
    return {re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in headings}


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_every_link_to_a_file_leads_to_one(page):
    targets = [target for target in LINK.findall(page.read_text(encoding="utf-8")) if "://" not in target]
    dead = []
    for target in targets:
        file, _, anchor = target.partition("#")
        there = page.parent / file if file else page
        if not there.exists() or (anchor and anchor not in anchors_of(there)):
            dead.append(target)
    assert dead == []


@pytest.mark.parametrize("page", ["ARCHITECTURE.md", "CONTRIBUTING.md"])
def test_every_path_that_a_page_on_the_code_names_is_there(page):
    named = re.findall(
        r"`((?:service|training|clients|deploy|tests|model_repository)/[\w/.<>-]+)`",
        (ROOT / page).read_text(),
    )
    # The <task> of service/tasks/<task>.py is the reader's choice: its folder must be there.
    there = [path.partition("<")[0] for path in named]
    assert [path for path in there if not (ROOT / path).exists()] == []
    assert page != "ARCHITECTURE.md" or len(there) > 40


@pytest.mark.parametrize("name", [name for name, *_ in _list_settings()])
def test_the_gateway_s_page_explains_every_setting(name):
    assert f"`{name}`" in GATEWAY


def test_the_gateway_s_page_names_no_setting_that_there_is_not():
    known = {name for name, *_ in _list_settings()}
    assert set(re.findall(r"SPARSIGHT_\w+", GATEWAY)) - known == set()


@pytest.mark.parametrize("name", PARAMETERS)
def test_the_gateway_s_page_explains_every_parameter(name):
    assert re.search(rf"^\| `{name}` \|.*`{name}=", GATEWAY, re.MULTILINE)


@pytest.mark.parametrize("error", STATUS, ids=slug_of)
def test_the_gateway_s_page_explains_every_problem_with_its_status(error):
    rows = [line for line in GATEWAY.splitlines() if line.startswith("|") and f"`{slug_of(error)}`" in line]
    assert [row.split("|")[1].strip() for row in rows] == [str(STATUS[error].value)]
