import logging

import pytest

from training.progress import bar


@pytest.fixture
def progress_logger():
    logger = logging.getLogger("training.progress")
    before = logger.level
    yield logger
    logger.setLevel(before)


def test_a_bar_names_what_is_done_and_counts_to_its_total(progress_logger, capsys):
    progress_logger.setLevel(logging.INFO)
    with bar(2, "image", "evaluate") as shown:
        shown.update(2)
        shown.refresh()
    shown_text = capsys.readouterr()
    assert "evaluate: 100%" in shown_text.err
    assert "2/2" in shown_text.err
    assert shown_text.out == ""


def test_bytes_are_shown_in_larger_units(progress_logger, capsys):
    progress_logger.setLevel(logging.INFO)
    with bar(3_000_000, "B") as shown:
        shown.update(3_000_000)
        shown.refresh()
    assert "3.00M/3.00M" in capsys.readouterr().err


@pytest.mark.parametrize(("level", "is_shown"), [(logging.INFO, True), (logging.INFO + 1, False)])
def test_bars_are_hidden_where_the_logger_lets_no_info_through(progress_logger, capsys, level, is_shown):
    progress_logger.setLevel(level)
    with bar(1, "image") as shown:
        shown.update()
    assert (capsys.readouterr().err != "") == is_shown
