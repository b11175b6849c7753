"""Gateways and Tritons as the chart starts them, killed, replaced and scaled under load: no request fails.

`python -m tests.cluster` does the same with more processes, and prints what callers noticed.
"""

import pytest

from tests.cluster.__main__ import run, why_no_cluster

pytestmark = [
    pytest.mark.skipif(why_no_cluster() is not None, reason=str(why_no_cluster())),
    pytest.mark.heavy,
]


def test_no_request_fails_while_parts_die_are_replaced_and_come_and_go():
    outcomes = run(smallest=True)
    assert [outcome.step for outcome in outcomes] == ["kill", "roll", "scale", "scale"]
    assert [(outcome.step, outcome.note) for outcome in outcomes if outcome.failed] == []
    kill, *_ = outcomes
    assert kill.retried >= 1  # a request that was in flight, or that met a refused connection
    assert all(
        outcome.sent >= 3 for outcome in outcomes
    )  # the last step has one request a second, for seconds
