"""The Pareto front, and throughput at equal mAP, of points that can be checked by hand."""

import pytest

from training.lab.pareto.candidates import Setting
from training.lab.pareto.points import Point, best_match, match_at_equal_map, pareto_front


def point(series, ms, *scores, setting=None):
    return Point(series, setting, (64, 64), scores, 1.0, tuple(each / 1e3 for each in (ms, ms, ms)))


def test_the_front_has_what_nothing_beats_the_fastest_first():
    slow, fast = point("a", 20, 0.6), point("a", 5, 0.3)
    middle, beaten = point("b", 10, 0.5), point("b", 10, 0.49)
    assert pareto_front([slow, beaten, fast, middle]) == [fast, middle, slow]


def test_equal_points_are_both_on_the_front_and_unknown_accuracy_is_not():
    one, other, unknown = point("a", 5, 0.3), point("b", 5, 0.3), point("peer", 1)
    assert pareto_front([one, other, unknown]) == [one, other]


def test_a_point_that_is_only_faster_or_only_more_accurate_beats_an_otherwise_equal_one():
    best, slower, worse = point("a", 5, 0.3), point("b", 6, 0.3), point("c", 5, 0.29)
    assert pareto_front([best, slower, worse]) == [best]
    assert pareto_front([]) == []


def test_the_fastest_point_that_is_accurate_enough_is_compared():
    first = point("a", 5, 0.40)
    fast, enough, better = point("b", 4, 0.35), point("b", 10, 0.41), point("b", 20, 0.45)
    (found,) = match_at_equal_map([first, fast, better, enough, point("c", 1, 0.9)], "a", "b")
    assert found.second == enough
    assert found.gain.median == pytest.approx(2.0)


@pytest.mark.parametrize(("score", "counts"), [(0.399, True), (0.3989, False)])
def test_a_tenth_of_a_point_less_is_equal_and_no_more(score, counts):
    (found,) = match_at_equal_map([point("a", 5, 0.4), point("b", 10, score)], "a", "b")
    assert (found.second is not None) == counts
    assert (found.gain is not None) == counts


def test_seeds_count_as_their_mean():
    first, second = point("a", 5, 0.3, 0.5), point("b", 6, 0.2, 0.6)
    assert first.score == pytest.approx(0.4)
    assert match_at_equal_map([first, second], "a", "b")[0].second == second


def test_ratios_are_taken_within_a_round():
    first = Point("a", None, (64, 64), (0.4,), 1.0, (1.0, 2.0, 4.0))  # the machine becomes slower
    second = Point("b", None, (64, 64), (0.4,), 1.0, (3.0, 6.0, 12.0))
    (found,) = match_at_equal_map([first, second], "a", "b")
    assert (found.gain.low, found.gain.median, found.gain.high) == (3, 3, 3)


def test_the_best_match_has_the_largest_gain_and_some_have_none():
    points = [point("a", 5, 0.4), point("a", 2, 0.2), point("a", 9, 0.9)]
    points += [point("b", 6, 0.4), point("b", 3, 0.2)]
    matched = match_at_equal_map(points, "a", "b")
    assert [None if each.gain is None else round(each.gain.median, 6) for each in matched] == [1.2, 1.5, None]
    assert best_match(matched) is matched[1]
    assert best_match(matched[2:]) is None
    assert match_at_equal_map([point("a", 5), *points[3:]], "a", "b") == [], "its accuracy is not known"


@pytest.mark.parametrize(
    ("setting", "text"),
    [
        (None, ""),
        (Setting("sparse", 2, 0.0), "K=2"),
        (Setting("sparse", 2, 0.15), "K=2 P=0.15"),
        (Setting("dense", 0, 0.0), "K=0"),
    ],
)
def test_a_setting_is_written_in_few_letters(setting, text):
    assert point("a", 5, 0.4, setting=setting).setting_text == text
