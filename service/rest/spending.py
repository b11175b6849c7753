"""Count an explanation in the daily quota of the caller's key, by the images for which the graph runs."""

from collections.abc import Iterator
from contextlib import contextmanager

from fastapi import Request

from service.artifact.manifest import Manifest
from service.explain.runner import most_runs
from service.request import DetectParams, RequestContext
from service.rest.middleware.access import caller_of


@contextmanager
def spend(
    request: Request, params: DetectParams, manifest: Manifest, context: RequestContext
) -> Iterator[None]:
    """Count the largest possible number of runs, and after the block give back those that were not made.

    The runs of an explanation count even if it failed, or if the caller left. Otherwise a caller could use
    the service without a limit. Without an explanation, or if the key has no quota, nothing is counted.

    Raises:
        QuotaExceeded: the rest of the key's quota is too small for an explanation.
    """
    caller = caller_of(request.scope)
    if params.explain == "off" or caller is None or caller.allowance is None:
        yield
        return
    most = most_runs(manifest)
    caller.allowance.take_more(most)
    try:
        yield
    finally:
        caller.allowance.give_back(max(0, most - context.explained.images))
