"""Formats tables with aligned columns, as plain text or Markdown."""

from collections.abc import Sequence

from tabulate import tabulate

_SIDES = {"l": "left", "r": "right"}


def in_columns(rows: Sequence[Sequence[object]], sides: str, *, indent: int = 0) -> list[str]:
    """Return one line per row, with aligned columns two spaces apart.

    Args:
        rows: the rows, a heading included; cells are converted with str().
        sides: one letter per column: l aligns its cells left, r right.
        indent: spaces before each line.
    """
    lines = tabulate(rows, tablefmt="plain", disable_numparse=True, colalign=_aligned(sides)).splitlines()
    return [" " * indent + line for line in lines]


def in_markdown(heading: Sequence[str], rows: Sequence[Sequence[object]], sides: str) -> list[str]:
    """Return a Markdown table, also readable as plain text; `sides` as in in_columns."""
    aligned = _aligned(sides)
    return tabulate(rows, heading, tablefmt="pipe", disable_numparse=True, colalign=aligned).splitlines()


def _aligned(sides: str) -> list[str]:
    return [_SIDES[side] for side in sides]
