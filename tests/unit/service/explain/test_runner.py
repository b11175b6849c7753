"""The runs of an explanation: their batches, their turns, and the time that they may take."""

import asyncio

import numpy as np
import pytest

from service.artifact.manifest import Manifest
from service.errors import BackendUnavailable, ExplanationTooSlow
from service.explain.attribution import plan
from service.explain.grid import Grid, Region
from service.explain.runner import SIDES, Subject, affordable_grid, explain, most_runs
from service.pipeline.letterbox import Letterbox
from service.pipeline.preprocess import Placed
from service.request import RequestContext
from service.traffic.turns import Lane
from service.types import ExpertActivation
from tests.builders import CANVAS, manifest_for
from tests.unit.service.traffic.route_builders import make_route


class BrightBackend:
    """A backend whose routers choose expert 0 the more, the brighter the left half of the image is."""

    def __init__(self, batches, wait_s=0.0, slow_after=None, fails_at=None):
        self.batches, self.wait_s, self.slow_after, self.fails_at = batches, wait_s, slow_after, fails_at
        self.calls = []

    async def run(self, job, context):
        images = job.prepare()["images"]
        assert len(images) in self.batches
        self.calls.append(len(images))
        if len(self.calls) == self.fails_at:
            raise BackendUnavailable("it is gone")
        slow = self.slow_after is not None and len(self.calls) > self.slow_after
        await asyncio.sleep(0.2 if slow else self.wait_s)
        probability = images[:, :, : CANVAS // 2].mean(axis=(1, 2, 3)) / 300
        probs = np.zeros((len(images), 2, 4), np.float32)
        probs[:, :, 0], probs[:, :, 1] = probability[:, None], 1 - probability[:, None]
        return job.finish({"router_probs": probs}, 0.0)


def subject_and_route(batches, **backend):
    manifest = Manifest.model_validate(
        manifest_for("tiny", "1", "graph") | {"batch": batches, "files": _FILES}, strict=False
    )
    backend = BrightBackend(batches, **backend)
    route = make_route(manifest, backend=backend)
    pixels = np.zeros((1, CANVAS, CANVAS, 3), np.uint8)
    pixels[0, :, : CANVAS // 2] = 200
    place = Letterbox.fit((CANVAS, CANVAS), (CANVAS, CANVAS))
    probability = 200 / 300
    experts = [
        ExpertActivation(
            layer.layer, layer.num_experts, (0,), (1.0,), (probability, 1 - probability, *rest), 1.0
        )
        for layer, rest in zip(manifest.mixture, [(0.0, 0.0), (0.0,)], strict=True)
    ]
    placed = Placed(pixels, place, (CANVAS, CANVAS))
    version = route.current
    return Subject(version=version, placed=placed, experts=experts, controls={}), route, backend


_FILES = dict.fromkeys(("model.xml", "model.bin", "golden.npz"), "0" * 64)


def run(subject, route, seconds=60.0):
    return asyncio.run(explain(route, subject, RequestContext.within(seconds)))


@pytest.mark.parametrize("batches", [(1,), (1, 2, 4, 8, 16), (3,), (16,)])
def test_every_batch_size_gives_the_same_map(batches):
    subject, route, backend = subject_and_route(batches)
    alone = run(*subject_and_route((1,))[:2])
    found = run(subject, route)
    assert np.allclose(found.layers[0].effects, alone.layers[0].effects)
    assert set(backend.calls) == {max([size for size in batches if size <= 8], default=min(batches))}
    assert found.runs == sum(backend.calls) <= most_runs(subject.manifest)


def test_the_bright_half_has_the_effects():
    (first, second) = run(*subject_and_route((1,))[:2]).layers
    left, right = first.effects[:, :4], first.effects[:, 4:]
    assert left.min() > abs(right).max()
    assert first.marked_fall > first.random_fall > 0
    assert (first.expert, second.expert) == (0, 0)
    assert first.log_odds == pytest.approx(np.log(2))


@pytest.mark.parametrize(
    ("left_s", "side"),
    [
        pytest.param(20.0, 8, id="enough: 160 images of 0.1 s, in four fifths of the time"),
        pytest.param(19.9, 6, id="a little too short for 8 cells"),
        pytest.param(11.75, 6, id="enough for 6 cells: 94 images"),
        pytest.param(11.7, 4, id="a little too short for 6 cells"),
        pytest.param(6.01, 4, id="enough for 4 cells: 48 images"),
    ],
)
def test_the_grid_is_the_finest_for_which_the_time_suffices(left_s, side):
    region = Region(0, 0, 64, 64)
    sizes = {size: len(plan(Grid.fit(region, size))) + 10 for size in SIDES}
    assert sizes == {8: 160, 6: 94, 4: 48}
    assert affordable_grid(region, 10, 0.1, left_s).rows == side


def test_a_time_that_is_too_short_for_every_grid_is_refused():
    with pytest.raises(ExplanationTooSlow, match=r"needs about 6 s here, and 5.9 s are left"):
        affordable_grid(Region(0, 0, 64, 64), 10, 0.1, 5.9)


def test_runs_that_become_slower_leave_out_random_halves():
    subject, route, _ = subject_and_route((1,), slow_after=100)
    found = run(subject, route, 8.0)
    assert found.layers[0].effects.shape == (8, 8)
    assert 64 + 7 < found.runs < 100 + 60
    assert found.layers[0].marked_fall > found.layers[0].random_fall > 0


def test_too_short_a_time_is_refused_after_one_run():
    subject, route, backend = subject_and_route((1,), wait_s=0.1)
    with pytest.raises(ExplanationTooSlow):
        run(subject, route, 0.3)
    assert len(backend.calls) == 1


def test_a_backend_that_fails_in_between_ends_the_explanation():
    subject, route, _ = subject_and_route((1,), fails_at=20)
    with pytest.raises(BackendUnavailable, match="it is gone"):
        run(subject, route)


def test_the_runs_give_way_to_other_requests():
    subject, route, backend = subject_and_route((1,), wait_s=0.002)
    served = []

    async def other(context):
        async with route.turns.take(Lane.of("normal", "tiny", 1), context):
            await asyncio.sleep(0.001)
            served.append(len(backend.calls))

    async def both():
        context = RequestContext.within(60.0)
        async with asyncio.TaskGroup() as group:
            group.create_task(explain(route, subject, context))
            for _ in range(20):
                group.create_task(other(context))

    route.turns._count = route.turns._free = 1
    asyncio.run(both())
    # Four turns of normal priority for each of low priority; so the 20 turns end before the 8th run.
    assert len(served) == 20
    assert served[-1] < 8


def test_the_runs_do_not_change_the_predicted_duration_of_other_images():
    subject, route, _ = subject_and_route((1,), wait_s=0.002)
    run(subject, route, 60.0)
    assert route.turns.mean_s(Lane.of("normal", "tiny", 1)) == 0.0
