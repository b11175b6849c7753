"""Formats tables with aligned columns, as plain text or Markdown."""

from collections.abc import Sequence
from typing import Any

from tabulate import tabulate

_SIDES = {"l": "left", "r": "right"}


def in_columns(rows: Sequence[Sequence[object]], sides: str, *, indent: int = 0) -> list[str]:
    """Return one line per row, with aligned columns two spaces apart.

    Args:
        rows: the rows, including a heading; cells are converted with str().
        sides: one letter per column; "l" aligns its cells left, and "r" aligns them right.
        indent: spaces before each line.
    """
    return [" " * indent + line for line in _lines(rows, sides, tablefmt="plain")]


def in_markdown(heading: Sequence[str], rows: Sequence[Sequence[object]], sides: str) -> list[str]:
    """Return the lines of a Markdown table that is also readable as text; in_columns explains `sides`."""
    return _lines(rows, sides, headers=heading, tablefmt="pipe")


def _lines(rows: Sequence[Sequence[object]], sides: str, **how: Any) -> list[str]:
    aligned = [_SIDES[side] for side in sides]
    return tabulate(rows, disable_numparse=True, colalign=aligned, **how).splitlines()
