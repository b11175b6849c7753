"""Count an explanation in the daily quota of the caller's key, by the images for which the graph runs."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager

from fastapi import Request

from service.artifact.manifest import Manifest
from service.explain.runner import most_runs
from service.observe.protocol import Answered
from service.request import DetectParams
from service.rest.middleware.access import caller_of


@contextmanager
def spend(request: Request, params: DetectParams, manifest: Manifest) -> Iterator[Callable[[Answered], None]]:
    """Count the largest number of runs in advance, and give back those that were not needed.

    Without an explanation, or if the key has no quota, nothing is counted. Call the yielded function with the
    answer; if it is not called, because there is no answer, all runs are given back.

    Raises:
        QuotaExceeded: the rest of the key's quota is too small for an explanation.
    """
    caller = caller_of(request.scope)
    if params.explain == "off" or caller is None or caller.allowance is None:
        yield lambda answered: None
        return
    unused = most_runs(manifest)
    caller.allowance.take_more(unused)

    def spent(answered: Answered) -> None:
        nonlocal unused
        unused -= 0 if answered.explanation is None else answered.explanation.runs

    try:
        yield spent
    finally:
        caller.allowance.give_back(max(0, unused))
