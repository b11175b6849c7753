"""Compare the order of rows in two lists of figures, and how far our figures can be trusted."""

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import combinations, permutations
from statistics import fmean, variance

ENUMERATED = 7  # rows whose orders are all tried: 5,040


@dataclass(frozen=True)
class Agreement:
    """The agreement over pairs of rows whose published figures differ; equal ones have no order."""

    pairs: int
    same_order: int
    equal_here: int  # pairs with equal figures of ours, such as 0 after too short a training
    tau: float  # Kendall's, over these pairs: 1 all in the same order, -1 none
    chance: float | None  # share of all orders of our rows that agree at least as well; None: too many rows
    wide_pairs: int  # pairs further apart in the paper than its own figures of one model
    wide_same_order: int
    seeds: int  # number of seeds that every row has
    deviation: float | None  # of a row from seed to seed, pooled over rows; None with one seed
    clear_pairs: int | None  # pairs of ours that differ by more than two standard errors


def agreement(published: Sequence[float], ours: Sequence[Sequence[float]], spread: float) -> Agreement | None:
    """Compare the order of published figures with that of ours; None if no two published ones differ.

    Args:
        ours: for each row, its figure of every seed, at least one, in the unit of the published figures.
        spread: how far the source's own figures of one model are apart.
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
    # Rounded, as 62.1 - 61.6 is a little more than 0.5 in binary.
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
    """Return the number of pairs in the same order, and this less the pairs in opposite order."""
    found = [(theirs[a] - theirs[b]) * (ours[a] - ours[b]) for a, b in pairs]
    same = sum(each > 0 for each in found)
    return same, same - sum(each < 0 for each in found)


def in_words(found: Agreement | None, spread: float) -> str:
    """Return the agreement in one or two sentences, in points of mAP50-95."""
    if found is None:
        return "Too few rows are finished to compare their order."
    words = [
        f"Of {_count(found.pairs, 'pair')} of rows that the paper sets apart, {found.same_order} "
        f"{'is' if found.same_order == 1 else 'are'} in the same order here (Kendall's tau {found.tau:+.2f})"
    ]
    if found.equal_here:
        words.append(f", and {found.equal_here} cannot be told apart")
    if found.chance is not None:
        words.append(f"; {found.chance:.0%} of all orders agree as well or better")
    words.append(". ")
    if found.wide_pairs:
        words.append(
            f"Of the {found.wide_pairs} that it sets apart by more than {spread:.1f} points, "
            f"its own difference for one model, {found.wide_same_order}. "
        )
    else:
        words.append(f"None of them is further apart than {spread:.1f}, its own difference for one model. ")
    if found.deviation is None:
        words.append("One seed: how much of our differences is chance is not known.")
    else:
        words.append(
            f"From seed to seed ({found.seeds}) a row moves by {found.deviation:.1f} points (standard "
            f"deviation, pooled); {_count(found.clear_pairs or 0, 'difference')} of ours "
            f"{'is' if found.clear_pairs == 1 else 'are'} larger than twice its standard error."
        )
    return "".join(words)


def _count(number: int, noun: str) -> str:
    return f"{number} {noun}{'' if number == 1 else 's'}"
