"""Rows of cells in aligned columns: as plain text, as Markdown."""

from collections.abc import Sequence

from tabulate import tabulate

_SIDES = {"l": "left", "r": "right"}


def in_columns(rows: Sequence[Sequence[object]], sides: str, *, indent: int = 0) -> list[str]:
    """Return one line a row, two spaces between columns; a heading is a row like any other.

    Args:
        rows: every cell is shown as str() has it.
        sides: l or r for each column: where its cells stand.
        indent: spaces before each line.
    """
    lines = tabulate(rows, tablefmt="plain", disable_numparse=True, colalign=_aligned(sides)).splitlines()
    return [" " * indent + line for line in lines]


def in_markdown(heading: Sequence[str], rows: Sequence[Sequence[object]], sides: str) -> list[str]:
    """Return a table in Markdown, readable as it stands; sides as in_columns."""
    aligned = _aligned(sides)
    return tabulate(rows, heading, tablefmt="pipe", disable_numparse=True, colalign=aligned).splitlines()


def _aligned(sides: str) -> list[str]:
    return [_SIDES[side] for side in sides]
