"""A model with paths drifts if the shares of its paths change, and nothing else raises alarms."""

import numpy as np
import pytest

from service.artifact.routing_file import MeasuredRouting
from service.routing.reference import Layers, Reference
from service.routing.watch import PATH, SPAN, Watch
from service.types import ExpertActivation
from tests.path_artifacts import PATHS, PROBS, SHARE, baseline_routing, gates_of

LAYERS = Layers(["backbone.p4", "backbone.p5"], [4, 3], of_paths=True)


def reference():
    arrays = baseline_routing()
    log_probs, sets = arrays["log_probs"][0].astype(np.float32), arrays["sets"][0]
    return Reference.of(MeasuredRouting({"top_k": 2}, log_probs, sets), LAYERS, (0, 1))


def taking(path):
    """Return the experts of an image on a path, in float32 as the gateway reads them."""
    gates, found = gates_of(path, 2), []
    for row, (name, count) in enumerate(zip(LAYERS.names, LAYERS.experts, strict=True)):
        probs = np.array(PROBS[path][row][:count], np.float32)
        active = np.flatnonzero(gates[row])
        bits = float(-(probs * np.log2(probs)).sum())
        weights = tuple(gates[row][active].tolist())
        found.append(
            ExpertActivation(name, count, tuple(active.tolist()), weights, tuple(probs.tolist()), bits)
        )
    return tuple(found)


IMAGES = [taking(path) for path in range(PATHS)]
CONTRASTS = LAYERS.images(IMAGES).contrasts


def watched(shares, count, seed=0):
    """Return a watch after images on random paths, and after how many of them it raised an alarm."""
    watch, rng = Watch(reference(), LAYERS), np.random.default_rng(seed)
    for number, path in enumerate(rng.choice(PATHS, count, p=shares), 1):
        watch.add(IMAGES[path])
        if watch.alarm is not None:
            return watch, number
    return watch, None


@pytest.mark.parametrize("seed", range(5))
def test_the_shares_of_the_baseline_raise_no_alarm(seed):
    watch, alarmed = watched(SHARE, 5000, seed)
    assert alarmed is None
    assert watch.window.novelty == pytest.approx(0.5)
    assert watch.states[PATH].drift_bits < 0.05


def test_other_shares_of_the_paths_raise_an_alarm_of_the_chosen_sets():
    watch, alarmed = watched((0.1, 0.3, 0.6), SPAN)
    assert alarmed is not None
    assert watch.alarm.test == "sets"
    assert watch.states[PATH].pvalue < 1e-3


def test_an_image_on_a_path_of_the_baseline_is_not_novel():
    assert reference().ranks(CONTRASTS).tolist() == [0.5] * PATHS
    assert [reference().rarity(each) for each in CONTRASTS] == [0] * PATHS


def test_an_image_on_a_path_that_the_baseline_lacks_is_novel():
    paths = [0] * 149 + [1]
    arrays = {"log_probs": np.log(np.maximum(np.array(PROBS, np.float32)[paths], 1e-3))}
    sets = np.ones((150, 2), np.uint64)
    rare = Reference.of(MeasuredRouting({"top_k": 2}, arrays["log_probs"], sets), LAYERS, (0, 1))
    common, single, lacking = rare.ranks(CONTRASTS)
    assert common == pytest.approx(0.5, abs=0.01)
    assert single > 0.95  # one image of the baseline took it
    assert lacking == 1
    assert rare.rarity(CONTRASTS[2]) > 1


def test_a_few_images_on_a_path_that_the_baseline_lacks_are_no_drift():
    paths = [0] * 90 + [1] * 60
    measured = baseline_routing()
    rows = [paths.index(path) for path in (0, 1)]
    assert rows == [0, 90]
    logs = np.log(np.maximum(np.array(PROBS, np.float32)[paths], 1e-3))
    sets = measured["sets"][0][[0 if path == 0 else 80 for path in paths]]
    watch = Watch(Reference.of(MeasuredRouting({"top_k": 2}, logs, sets), LAYERS, (0, 1)), LAYERS)
    rng = np.random.default_rng(0)
    for path in rng.choice(PATHS, 3000, p=(0.594, 0.396, 0.01)):
        watch.add(IMAGES[path])
        assert watch.alarm is None
