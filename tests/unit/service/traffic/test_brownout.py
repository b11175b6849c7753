"""Quality falls only within the operator's bounds, holds the wait near its target, and comes back."""

import heapq
import itertools
import random
from pathlib import Path

import pytest

from service.artifact.manifest import Manifest
from service.artifact.repository import read_artifact
from service.request import DetectParams
from service.settings import BrownoutSettings
from service.tasks.resolve import resolve
from service.traffic.brownout import Brownout
from tests.path_artifacts import build_paths

STARTER = max(Path("model_repository/starter-openvino").glob("*/manifest.json"))


@pytest.fixture(scope="module")
def manifest():
    found = Manifest.model_validate_json(STARTER.read_text())
    assert found.execution == "sparse"
    return found


class Clock:
    def __init__(self):
        self.now = 0.0

    def __call__(self):
        return self.now


def under_load(settings, *, seconds=20.0, wait_s=10.0):
    """Return a controller after `seconds` in which every image waited `wait_s`, and its clock."""
    clock = Clock()
    brownout = Brownout(settings, clock=clock)
    for _ in range(int(seconds * 20)):
        clock.now += 0.05
        brownout.waited(wait_s, 0.05)
    return brownout, clock


def controls_of(brownout, manifest, **query):
    params = DetectParams(**query)
    lowered, degraded = brownout.lower(resolve(params, manifest), params, manifest)
    return lowered.controls["top_k"], lowered.controls["weight_threshold"], degraded


BOUNDS = BrownoutSettings(min_top_k=0, max_weight_threshold=0.5)


def test_at_full_effort_the_bounds_are_in_force_and_not_more(manifest):
    brownout, _ = under_load(BOUNDS)
    assert brownout.effort == 1
    assert controls_of(brownout, manifest) == (0, 0.5, True)
    one, _ = under_load(BrownoutSettings(min_top_k=1))
    default = resolve(DetectParams(), manifest).controls["weight_threshold"]
    assert controls_of(one, manifest) == (1, default, True)


def test_the_number_of_experts_in_force_is_the_nearest_to_the_effort(manifest):
    default = int(resolve(DetectParams(), manifest).controls["top_k"])
    clock, seen = Clock(), {}
    brownout = Brownout(BrownoutSettings(min_top_k=0), clock=clock)
    while brownout.effort < 1:
        clock.now += 0.05
        brownout.waited(10, 0.05)
        seen[brownout.effort] = controls_of(brownout, manifest)[0]
    assert default == 2
    assert seen == {step / 8: (2, 2, 1, 1, 1, 1, 0, 0, 0)[step] for step in range(9) if step / 8 in seen}
    assert {0.125, 0.25, 0.625, 0.75, 1.0} <= seen.keys()


def test_without_bounds_or_without_load_nothing_changes(manifest):
    default = resolve(DetectParams(), manifest).controls
    expected = (default["top_k"], default["weight_threshold"], False)
    assert controls_of(under_load(BrownoutSettings())[0], manifest) == expected
    assert controls_of(under_load(BOUNDS, wait_s=0)[0], manifest) == expected
    # A bound on the wrong side of the default changes nothing either.
    assert controls_of(under_load(BrownoutSettings(min_top_k=4))[0], manifest) == expected
    assert controls_of(under_load(BrownoutSettings(max_weight_threshold=0))[0], manifest)[2] is False


def test_a_caller_can_pin_the_quality_or_a_control(manifest):
    brownout, _ = under_load(BOUNDS)
    default = resolve(DetectParams(), manifest).controls
    pinned = (default["top_k"], default["weight_threshold"], False)
    assert controls_of(brownout, manifest, quality="high") == pinned
    assert controls_of(brownout, manifest, controls={"top_k": 3}) == (3, 0.5, True)


def test_a_dense_graph_is_left_alone_because_it_would_save_nothing(manifest):
    brownout, _ = under_load(BOUNDS)
    dense = manifest.model_copy(update={"execution": "dense"})
    assert controls_of(brownout, dense)[2] is False


def test_quality_falls_and_rises_step_by_step_and_not_at_once():
    settings, clock = BOUNDS, Clock()
    brownout = Brownout(settings, clock=clock)
    efforts = []
    for moment in range(400):
        clock.now += 0.02
        brownout.waited(1.0 if moment < 200 else 0.0, 0.05)
        efforts.append(brownout.effort)
    changes = [abs(b - a) for a, b in itertools.pairwise(efforts) if a != b]
    assert max(changes) == pytest.approx(1 / 8)
    assert efforts[:200] == sorted(efforts[:200])
    assert efforts[200:] == sorted(efforts[200:], reverse=True)
    assert max(efforts) == 1
    assert efforts[-1] == 0
    first = efforts.index(1.0)
    assert first * 0.02 > 0.5  # no faster than the limit on its rate


def test_after_a_pause_it_does_not_act_on_the_time_in_which_nobody_asked():
    brownout, clock = under_load(BOUNDS, seconds=0.3)
    before = brownout.effort
    clock.now += 3600
    brownout.waited(10, 0.05)
    assert brownout.effort - before <= 0.5 + 1 / 8


def queue(load, *, seconds=60, brownout=None, clock=None, longest_turns=2):
    """Simulate images at random moments on four turns; return the served per second, waits and efforts.

    A turn takes 100 ms at full quality, and 60 ms at the bounds. An image that would wait longer than
    `longest_turns` turns is refused.
    """
    rng, free, served, waits, efforts = random.Random(7), [0.0] * 4, 0, [], []
    now = 0.0
    while now < seconds:
        now += rng.expovariate(load * 4 / 0.1)
        effort = brownout.effort if brownout else 0.0
        turn_s = 0.1 - 0.04 * effort
        wait_s = max(0.0, free[0] - now)
        if wait_s > longest_turns * turn_s:
            continue
        start = max(now, heapq.heappop(free))
        heapq.heappush(free, start + turn_s)
        if brownout:
            clock.now = max(clock.now, start)
            brownout.waited(start - now, turn_s)
        if now > 5:  # before, the effort rises
            served += 1
            waits.append((start - now) / turn_s)
            efforts.append(effort)
    return served / (seconds - 5), waits, efforts


@pytest.mark.parametrize("load", [1.2, 1.4, 1.6])
def test_more_images_are_served_than_by_refusals_alone_and_the_wait_stays_near_its_target(load):
    clock = Clock()
    plain, plain_waits, _ = queue(load)
    served, waits, efforts = queue(load, brownout=Brownout(BOUNDS, clock=clock), clock=clock)
    assert served / plain > min(load, 5 / 3) * 0.93
    assert sum(waits) / len(waits) < sum(plain_waits) / len(plain_waits)
    assert 0.4 < sum(waits) / len(waits) < 1  # the target is 0.5 turns
    changes = sum(a != b for a, b in itertools.pairwise(efforts))
    assert changes / 55 < 4  # per second


def test_below_the_capacity_quality_stays_high():
    clock = Clock()
    _, _, efforts = queue(0.6, brownout=Brownout(BOUNDS, clock=clock), clock=clock)
    assert sum(effort > 0 for effort in efforts) / len(efforts) < 0.05


def test_time_with_lowered_quality_is_counted():
    clock, seen = Clock(), []
    brownout = Brownout(BOUNDS, lambda effort, lowered_s: seen.append((effort, lowered_s)), clock)
    for wait_s in [1.0] * 100 + [0.0] * 100:
        clock.now += 0.05
        brownout.waited(wait_s, 0.05)
    lowered_s = sum(seconds for _, seconds in seen)
    in_force = sum(effort > 0 for effort, _ in seen) * 0.05
    assert lowered_s == pytest.approx(in_force, abs=0.06)


def test_bounds_are_checked_when_the_settings_are_read():
    for wrong in ({"min_top_k": -1}, {"max_weight_threshold": 1.1}):
        with pytest.raises(ValueError, match=r"greater than or equal to 0|less than or equal to 1"):
            BrownoutSettings(**wrong)


def test_a_model_with_paths_goes_down_to_a_top_k_that_has_graphs(tmp_path):
    built = build_paths(tmp_path)
    manifest = read_artifact(built.folder).manifest
    assert manifest.execution == "dense"
    for effort, want in ((0.25, (2, False)), (0.75, (1, True)), (1.0, (1, True))):
        brownout = Brownout(BrownoutSettings(min_top_k=1))
        brownout._step = round(effort * 8)
        params = DetectParams()
        lowered, degraded = brownout.lower(resolve(params, manifest), params, manifest)
        assert (lowered.controls["top_k"], degraded) == want


@pytest.mark.parametrize(
    ("least", "query", "want"),
    [
        pytest.param(1, {}, (1,), id="the operator allows it"),
        pytest.param(0, {}, (1,), id="lower than every graph"),
        pytest.param(2, {}, (), id="the bound is the default"),
        pytest.param(None, {}, (), id="brownout off"),
        pytest.param(1, {"quality": "high"}, (), id="quality=high"),
        pytest.param(1, {"controls": {"top_k": 2}}, (), id="the request names a top_k"),
    ],
)
def test_a_late_image_may_take_a_lower_top_k_only_within_the_bounds(tmp_path, least, query, want):
    manifest = read_artifact(build_paths(tmp_path).folder).manifest
    assert Brownout(BrownoutSettings(min_top_k=least)).cheaper(DetectParams(**query), manifest) == want


def test_a_late_image_takes_the_highest_top_k_that_fits(manifest):
    brownout = Brownout(BrownoutSettings(min_top_k=0))
    default = int(resolve(DetectParams(), manifest).controls["top_k"])
    assert brownout.cheaper(DetectParams(), manifest) == tuple(range(default - 1, -1, -1))
