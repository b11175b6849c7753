"""Agreement of the order of rows, checked by hand."""

import pytest

from training.lab.ablations.agreement import agreement, in_words

TABLE_5 = (60.8, 58.2, 62.1, 54.9)


def one_seed(*figures):
    return [[figure] for figure in figures]


def test_the_same_order_agrees_in_every_pair_and_in_one_order_of_24():
    found = agreement(TABLE_5, one_seed(40, 35, 50, 1), spread=0.5)
    assert (found.pairs, found.same_order, found.tau) == (6, 6, 1.0)
    assert found.chance == pytest.approx(1 / 24)
    assert (found.wide_pairs, found.wide_same_order) == (6, 6)


def test_the_reverse_order_agrees_nowhere_and_every_order_is_as_good():
    found = agreement(TABLE_5, one_seed(35, 40, 1, 50), spread=0.5)
    assert (found.same_order, found.tau, found.chance) == (0, -1.0, 1.0)


def test_one_pair_the_other_way_round_costs_two_thirds_of_a_third():
    found = agreement(TABLE_5, one_seed(50, 35, 40, 1), spread=0.5)
    assert (found.same_order, found.tau) == (5, pytest.approx(4 / 6))
    assert found.chance == pytest.approx(4 / 24)  # itself, the same order, and two more with one pair turned


def test_rows_that_the_paper_has_equal_are_no_pair():
    found = agreement((61.9, 61.9, 61.4), one_seed(3, 2, 1), spread=0.5)
    assert (found.pairs, found.same_order) == (2, 2)
    assert found.wide_pairs == 0  # 61.9 - 61.4 is the spread, not more


def test_rows_that_ours_has_equal_are_in_no_order():
    found = agreement((1.0, 2.0), one_seed(5, 5), spread=0.0)
    assert (found.same_order, found.equal_here, found.tau) == (0, 1, 0.0)
    assert "0 of 1 (Kendall's tau +0.00). Pairs with equal figures here: 1. " in in_words(found, 0.0)
    assert "agree at least as well: 100%." in in_words(found, 0.0)


@pytest.mark.parametrize(("published", "ours"), [((), []), ((1.0,), [[1]]), ((1.0, 1.0), [[1], [2]])])
def test_without_a_pair_there_is_nothing_to_say(published, ours):
    assert agreement(published, ours, spread=0.5) is None
    assert in_words(None, 0.5) == "Too few rows are finished to compare their order."


def test_several_seeds_say_how_far_chance_moves_a_row():
    # Each row moves by 1 either way: variance 2. The mean of two seeds has 1, a difference of two means 2.
    found = agreement((1.0, 2.0, 3.0), [[9, 11], [11, 13], [17, 19]], spread=0.0)
    assert (found.seeds, found.deviation) == (2, pytest.approx(2**0.5))
    assert found.clear_pairs == 2  # 2, 6 and 8 points apart, of which two are beyond 2 × √2 = 2.8


def test_seeds_that_only_some_rows_have_are_not_counted():
    found = agreement((1.0, 2.0), [[1.0], [2.0, 4.0]], spread=0.0)
    assert (found.seeds, found.deviation, found.clear_pairs) == (1, None, None)


def test_too_many_rows_to_try_all_orders():
    figures = [float(k) for k in range(8)]
    assert agreement(figures, one_seed(*figures), spread=0.5).chance is None


def test_the_words_of_one_seed():
    assert in_words(agreement(TABLE_5, one_seed(40, 35, 50, 1), spread=0.5), 0.5) == (
        "Pairs of rows in the same order as in the paper: 6 of 6 (Kendall's tau +1.00). Share of all orders "
        "that agree at least as well: 4%. The paper's own figures of one model differ by up to 0.5 points; "
        "of the pairs that differ more in the paper, 6 of 6 are in the same order. With one seed, it is not "
        "known how much of the differences between rows is chance."
    )


def test_the_words_of_several_seeds():
    assert in_words(agreement((1.0, 1.4), [[9, 11], [17, 19]], spread=0.5), 0.5) == (
        "Pairs of rows in the same order as in the paper: 1 of 1 (Kendall's tau +1.00). Share of all orders "
        "that agree at least as well: 50%. The paper's own figures of one model differ by up to 0.5 points; "
        "of the pairs that differ more in the paper, 0 of 0 are in the same order. Standard deviation "
        "of a row over 2 seeds, pooled: 1.4 points. Differences here that are larger than twice their "
        "standard error: 1."
    )
