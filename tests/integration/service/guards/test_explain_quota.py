"""An explanation counts towards the daily quota of a key as often as the model runs."""

import numpy as np
import pytest

from service.errors import BackendFailed
from service.explain.runner import _Runs
from tests.builders import image_bytes
from tests.integration.service.guards.test_access import (
    detect,
    keys,  # noqa: F401  # a fixture
    slug,
    start_closed,  # noqa: F401  # a fixture
)

GREY = image_bytes(np.full((64, 64, 3), 120, np.uint8))
RUNS = (
    1 + 64 + 86 + 2 + 4
)  # the whole image, the cells, the random halves, two layers and four random quarters


def explain(running, key):
    return running.client.post("/detect", params={"explain": "route"}, content=GREY, headers=key)


@pytest.mark.parametrize(
    ("spare", "codes"), [(0, [200, 429]), (1, [200, 200, 429]), (-1, [200] * RUNS + [429])], ids=str
)
def test_the_quota_counts_the_request_and_its_runs(start_closed, keys, spare, codes):  # noqa: F811
    key = keys.new(quota=1 + RUNS + spare)
    running = start_closed(explain=True)
    answer = explain(running, key)
    if spare < 0:
        assert slug(answer) == "quota-exceeded"
        assert f"this one counts as up to {RUNS}" in answer.json()["detail"]
    else:
        assert answer.json()["explanation"]["runs"] == RUNS
        codes = codes[1:]
    assert [detect(running, key).status_code for _ in codes] == codes


def test_the_runs_of_an_explanation_that_failed_count(start_closed, keys, monkeypatch):  # noqa: F811
    run = _Runs._run

    async def failing(self, grid, masks):
        if self.images >= 40:
            raise BackendFailed("the engine failed")
        return await run(self, grid, masks)

    monkeypatch.setattr(_Runs, "_run", failing)
    key = keys.new(quota=1 + RUNS + 41)
    running = start_closed(explain=True)
    assert slug(explain(running, key)) == "backend-failed"
    assert explain(running, key).status_code == 500  # the rest is just enough
    assert slug(explain(running, key)) == "quota-exceeded"


def test_a_refused_explanation_gives_its_runs_back(start_closed, keys):  # noqa: F811
    key = keys.new(quota=RUNS + 3)
    running = start_closed(explain=True)
    for _ in range(3):
        late = running.client.post(
            "/detect", params={"explain": "route", "timeout_ms": 1}, content=GREY, headers=key
        )
        assert late.status_code == 504
    # The requests themselves count, as others that came too late.
    assert slug(explain(running, key)) == "quota-exceeded"
    assert [detect(running, key).status_code for _ in range(RUNS)][-1] == 200
    assert slug(detect(running, key)) == "quota-exceeded"
