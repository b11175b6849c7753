"""Compare the experts that two backends chose for one image."""

import math
from collections.abc import Sequence

from service.audits.verdict import Difference
from service.types import ExpertActivation


def compare_experts(
    got: Sequence[ExpertActivation],
    want: Sequence[ExpertActivation],
    *,
    tie: float,
    threshold: float | None = None,
) -> list[Difference]:
    """Return one difference for each layer whose chosen experts differ by more than a tie.

    An expert may be chosen by only one backend if the reference's router nearly tied: if the expert's
    probability is within `tie` of the probability at which the reference chose.

    Args:
        got: experts of the audited answer, one entry for each layer.
        want: experts of the reference; if it reports none, nothing is compared.
        tie: largest difference between probabilities that counts as a tie.
        threshold: the lowest probability of experts other than the best, if the request set one.
    """
    if not want or not got:
        return []
    found = {layer.layer: layer for layer in got}
    return [
        difference
        for layer in want
        if (difference := _compare(found.get(layer.layer), layer, tie, threshold)) is not None
    ]


def _compare(
    got: ExpertActivation | None, want: ExpertActivation, tie: float, threshold: float | None
) -> Difference | None:
    if got is None or not all(map(math.isfinite, got.probabilities)):
        return Difference("not-a-number", want.layer)
    chosen = set(want.active)
    lowest = min((want.probabilities[expert] for expert in chosen), default=math.inf)
    highest = max(
        (value for expert, value in enumerate(want.probabilities) if expert not in chosen),
        default=-math.inf,
    )
    by = 0.0
    for expert in chosen ^ set(got.active):
        probability = want.probabilities[expert]
        gap = probability - highest if expert in chosen else lowest - probability
        if threshold is not None:
            gap = min(gap, abs(probability - threshold))
        by = max(by, gap)
    if by <= tie:
        return None
    return Difference("experts", want.layer, None if math.isinf(by) else round(by, 6), tie)
