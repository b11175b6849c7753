"""Text tables: cells are aligned and not changed."""

import pytest

from training.columns import in_columns, in_markdown


def test_columns_are_as_wide_as_their_widest_cell_and_two_spaces_apart():
    rows = [("model", "", "ms", "goals"), ("esmoe-n", "K=1", "2.50", ""), ("a", "", "10.00", "met, missed")]
    assert in_columns(rows, "llrl") == [
        "model            ms  goals",
        "esmoe-n  K=1   2.50",
        "a             10.00  met, missed",
    ]


def test_lines_are_moved_in_as_far_as_asked():
    assert in_columns([("a", 1), ("b", 22)], "lr", indent=2) == ["  a   1", "  b  22"]


@pytest.mark.parametrize("cell", ["1e5", "007", "2,602,272", "0.10", "-", "nan"])
def test_a_cell_that_looks_like_a_number_is_shown_as_it_is(cell):
    assert in_columns([(cell,)], "r") == [cell]


def test_no_rows_are_no_lines():
    assert in_columns([], "lr") == []


def test_markdown_has_a_heading_and_says_where_cells_stand():
    rows = [("neck only", "2.49", "0, 1"), ("both", "", "none")]
    assert in_markdown(("row", "ours", "seeds"), rows, "lrr") == [
        "| row       |   ours |   seeds |",
        "|:----------|-------:|--------:|",
        "| neck only |   2.49 |    0, 1 |",
        "| both      |        |    none |",
    ]
