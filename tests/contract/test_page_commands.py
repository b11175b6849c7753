"""Every training command in the Markdown pages can be parsed."""

import re
import shlex
from inspect import signature

import pytest

from tests.contract.test_pages import PAGES, ROOT
from training.__main__ import build_parser

BLOCK = re.compile(r"^```\w*\n(.*?)^```", re.DOTALL | re.MULTILINE)
COMMAND = re.compile(r"^ *(?:\.venv/bin/)?(?:python -m|torchrun .* -m --) training (.*)$", re.MULTILINE)


def commands_of(page):
    """Yield the arguments of each `python -m training` command in a page's code blocks."""
    for block in BLOCK.findall(page.read_text(encoding="utf-8")):
        for line in COMMAND.findall(block.replace("\\\n", "")):
            if "…" not in line and "--help" not in line:
                filled_in = re.sub(r"\$\([^)]*\)", "name", line).replace("$variant", "esmoe-n")
                yield shlex.split(filled_in, comments=True)


COMMANDS = [(page, words) for page in PAGES for words in commands_of(page)]


def test_the_pages_show_commands():
    assert len(COMMANDS) > 50
    assert {page.relative_to(ROOT).as_posix() for page, _ in COMMANDS} >= {
        "training/README.md",
        "deploy/README.md",
    }


@pytest.mark.parametrize(
    ("page", "words"),
    COMMANDS,
    ids=[f"{page.relative_to(ROOT)}: {shlex.join(words)}" for page, words in COMMANDS],
)
def test_a_command_of_a_page_parses(page, words):
    parser = build_parser(words) if signature(build_parser).parameters else build_parser()
    parser.parse_args(words)  # ends the process, which fails the test, if a flag is not known
