"""The parts of the GPU run also pass on a CPU, so that a broken part is noticed before the GPU run."""

from dataclasses import replace
from types import SimpleNamespace

import pytest
import torch

from tests.gpu import smoke
from tests.gpu.given import Given
from tests.gpu.latency import disagreement, experts_run, forward, spread
from tests.gpu.sparsight import SCENE_CLASS_NAMES, Detector, Gathered, half_precision, model_config
from tests.gpu.train import by_origin


@pytest.fixture
def given(tmp_path):
    return Given(tmp_path, tmp_path, 60.0, smallest=True, batch=None, device=torch.device("cpu"))


@pytest.mark.heavy
def test_a_run_that_is_stopped_and_resumed_is_compared_with_one_that_is_not(given):
    found = {}
    config = replace(smoke.training(given), precision="f32", deterministic=True)
    smoke.resumed_like_whole(config, 0.0, found)
    assert len(found["losses_whole"]) == smoke.STEPS
    assert found["losses_resumed"] == found["losses_whole"]


def test_weights_that_are_not_channels_last_are_named():
    model = torch.nn.Sequential(torch.nn.Conv2d(2, 2, 3, bias=False), torch.nn.Linear(2, 2))
    assert smoke.plain_weights(model) == ["0.weight"]
    assert smoke.plain_weights(model.to(memory_format=torch.channels_last)) == []


def test_tensors_further_apart_than_the_bound_are_refused():
    assert smoke.same(torch.tensor([1.0, 2.5]), torch.tensor([1.0, 2.0]), 0.5) == 0.5
    with pytest.raises(AssertionError, match=r"differs by 0\.5, the bound is 0\.4"):
        smoke.same(torch.tensor([1.0, 2.5]), torch.tensor([1.0, 2.0]), 0.4)


def test_dispatches_are_compared_with_dense():
    torch.manual_seed(0)
    detector = half_precision(Detector(model_config("sparsight-n", SCENE_CLASS_NAMES, (64, 64))))
    images = torch.randint(0, 256, (2, 64, 64, 3), dtype=torch.uint8)
    runs = {
        name: lambda images, dispatch=dispatch: forward(detector, dispatch, images)
        for name, dispatch in (("dense", "dense"), ("gathered", Gathered(2)), ("grouped", "grouped"))
    }
    assert disagreement(runs, images).keys() == {"gathered", "grouped"}
    run, of, every = experts_run(detector, images).split()
    assert (of, every) == ("of", "20")  # 5 layers of 4
    assert 10 <= int(run) <= 20  # each image chooses 2 a layer
    with pytest.raises(AssertionError, match="scores differ"):
        disagreement({**runs, "gathered": lambda images: (images, torch.tensor(2.0))}, images)


def test_a_spread_is_median_and_extremes():
    assert spread([3.0, 1.0, 2.0, 10.0]) == {"median": 2.5, "least": 1.0, "most": 10.0}


def test_map_of_a_data_set_is_the_mean_over_its_classes_that_occur():
    by_class = {"ace": 0.5, "ten": 0.25, "fish": 1.0}
    # The two fields that are read, of the many that an evaluation has.
    mean_ap = SimpleNamespace(map50_by_class=by_class, map50_95_by_class=by_class)
    result = SimpleNamespace(mean_ap=mean_ap)
    scores = by_origin(result, {"cards": ("ace", "ten", "queen"), "fish": ("fish",), "none": ("owl",)})
    assert scores == {
        "mAP50 cards": 0.375, "mAP50 fish": 1.0, "mAP50-95 cards": 0.375, "mAP50-95 fish": 1.0,
    }  # fmt: skip
