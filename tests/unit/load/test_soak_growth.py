"""The judgement of a soak: what counts as growth, on samples that are made up."""

from dataclasses import replace

import numpy as np
import pytest

from tests.load.soak.growth import PER, faults, growth_of, split, warm
from tests.load.soak.samples import Sample

FIRST = Sample(
    requests=0, seconds=0, used_mb=170, blocks=400_000, own_mb=250, rss_mb=300, pss_mb=270, peak_mb=330,
    threads=45, descriptors=20, shared_files=1, temporary_files=1, in_flight=0, series=870, triton_mb=0,
)  # fmt: skip
EVERY = 2000


def samples(count=101, leak_mb=0.0, noise_mb=0.02, **held):
    """Return samples of a service whose memory in use grows by leak_mb for each 100,000 requests."""
    chance = np.random.default_rng(3)
    found = []
    for number in range(count):
        requests = number * EVERY
        used = 170 + leak_mb * requests / PER + chance.normal(0, noise_mb)
        own = used + 80 + chance.normal(0, 8)  # what is free in the heaps differs much
        found.append(replace(FIRST, requests=requests, used_mb=used, own_mb=own, rss_mb=own + 47, **held))
    return found


def test_a_service_that_does_not_grow_passes():
    assert faults(samples()) == []


@pytest.mark.parametrize(("leak_mb", "caught"), [(0.95, False), (1.05, True)])
def test_memory_may_grow_by_the_limit_and_no_more(leak_mb, caught):
    found = faults(samples(leak_mb=leak_mb, noise_mb=0.001))
    assert [sentence.split()[:3] for sentence in found] == ([["used_mb", "grows", "by"]] if caught else [])


def test_too_few_requests_are_not_taken_for_a_proof():
    (sentence,) = faults(samples(count=14, noise_mb=0.5))
    assert sentence.startswith("used_mb may grow by")
    assert faults(samples(count=6)) == ["there are too few samples"]


def test_a_large_leak_shows_in_what_the_process_holds():
    found = faults(samples(leak_mb=50))
    assert [sentence.split(" grows")[0] for sentence in found] == ["used_mb", "own_mb", "rss_mb"]


def test_growth_while_the_service_warms_up_does_not_count():
    taken = samples()
    for number in range(28):  # of 101
        taken[number] = replace(taken[number], used_mb=120 + number)
    assert faults(taken) == []
    assert warm(taken)[0].requests == 60_000


def test_single_samples_that_stand_out_do_not_change_the_slope():
    taken = samples(leak_mb=0.5, noise_mb=0.001)
    taken[-1] = replace(taken[-1], used_mb=400)
    after = warm(taken)
    growth = growth_of([one.requests for one in after], [one.used_mb for one in after])
    assert growth.slope == pytest.approx(0.5, abs=0.01)
    assert growth.low <= growth.slope <= growth.high


@pytest.mark.parametrize(
    "name", ["threads", "descriptors", "shared_files", "temporary_files", "in_flight", "series"]
)
def test_one_more_for_good_is_growth(name):
    taken = samples()
    more = getattr(FIRST, name) + 1
    taken = [replace(one, **{name: more}) if one.requests > 120_000 else one for one in taken]
    (sentence,) = faults(taken)
    assert sentence.startswith(f"{name} grow: at most {more - 1} in the first third, at least {more}")


def test_threads_that_come_and_go_are_not_growth():
    taken = [replace(one, threads=45 + number % 3) for number, one in enumerate(samples())]
    assert faults(taken) == []


def test_every_sample_is_in_one_group():
    values = [(number, 0) for number in range(71)]
    groups = split(values, 12)
    assert [value for group in groups for value in group] == values
    assert {len(group) for group in groups} == {5, 6}
