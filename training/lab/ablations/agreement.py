"""Sort the rows of a table by published figures and by our figures, and compare the two orders."""

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import combinations, permutations
from statistics import fmean, variance

ENUMERATED = 7  # with at most this many rows, all orders are tried, which are 5,040
ONE_SEED = "With one seed, it is not known how much of the differences between rows is chance."


@dataclass(frozen=True)
class Agreement:
    """The number of pairs of rows that have the same order by our figures as by the published figures.

    Pairs of rows with equal published figures are not counted.
    """

    pairs: int
    same_order: int
    equal_here: int  # pairs for which our figures are equal, such as 0 after too short a training
    tau: float  # Kendall's tau over all pairs: 1 if all are in the same order, -1 if none is
    chance: float | None  # share of all orders of our rows that agree at least as well; None: too many rows
    wide_pairs: int  # pairs that differ by more than `spread` in the paper
    wide_same_order: int
    seeds: int  # number of seeds that every row has
    deviation: float | None  # standard deviation from seed to seed, pooled over rows; None with one seed
    clear_pairs: int | None  # pairs of our rows that differ by more than two standard errors


def agreement(published: Sequence[float], ours: Sequence[Sequence[float]], spread: float) -> Agreement | None:
    """Compare the order of rows by published figures with their order by our figures.

    Return None if all published figures are equal.

    Args:
        published: the published figure of each row.
        ours: for each row, our figures from one or more seeds, in the unit of the published figures.
        spread: largest difference between the figures that the paper gives for one and the same model.
    """
    means = [fmean(runs) for runs in ours]
    pairs = [(a, b) for a, b in combinations(range(len(ours)), 2) if published[a] != published[b]]
    if not pairs:
        return None
    same, score = _order(published, means, pairs)
    chance = None
    if len(ours) <= ENUMERATED:
        scores = [_order(published, each, pairs)[1] for each in permutations(means)]
        chance = sum(each >= score for each in scores) / len(scores)
    # Differences are rounded, because 62.1 - 61.6 is a little more than 0.5 in binary.
    wide = [(a, b) for a, b in pairs if round(abs(published[a] - published[b]), 6) > round(spread, 6)]
    seeds = min(len(runs) for runs in ours)
    deviation, clear = None, None
    if seeds > 1:
        deviation = fmean(variance(runs) for runs in ours) ** 0.5
        clear = sum(abs(a - b) > 2 * deviation * (2 / seeds) ** 0.5 for a, b in combinations(means, 2))
    return Agreement(
        pairs=len(pairs),
        same_order=same,
        equal_here=sum(means[a] == means[b] for a, b in pairs),
        tau=score / len(pairs),
        chance=chance,
        wide_pairs=len(wide),
        wide_same_order=_order(published, means, wide)[0],
        seeds=seeds,
        deviation=deviation,
        clear_pairs=clear,
    )


def _order(
    theirs: Sequence[float], ours: Sequence[float], pairs: Sequence[tuple[int, int]]
) -> tuple[int, int]:
    """Return the number of pairs in the same order, and this number minus the number in opposite order."""
    found = [(theirs[a] - theirs[b]) * (ours[a] - ours[b]) for a, b in pairs]
    same = sum(each > 0 for each in found)
    return same, same - sum(each < 0 for each in found)


def in_words(found: Agreement | None, spread: float) -> str:
    """Return a few sentences on the agreement; differences are in points of mAP50-95."""
    if found is None:
        return "Too few rows are finished to compare their order."
    words = [
        f"Pairs of rows in the same order as in the paper: {found.same_order} of {found.pairs} "
        f"(Kendall's tau {found.tau:+.2f})."
    ]
    if found.equal_here:
        words.append(f"Pairs with equal figures here: {found.equal_here}.")
    if found.chance is not None:
        words.append(f"Share of all orders that agree at least as well: {found.chance:.0%}.")
    words.append(
        f"The paper's own figures of one model differ by up to {spread:.1f} points; of the pairs that differ "
        f"more in the paper, {found.wide_same_order} of {found.wide_pairs} are in the same order."
    )
    if found.deviation is None:
        words.append(ONE_SEED)
    else:
        words.append(
            f"Standard deviation of a row over {found.seeds} seeds, pooled: {found.deviation:.1f} points. "
            f"Differences here that are larger than twice their standard error: {found.clear_pairs}."
        )
    return " ".join(words)
