"""The routing report for artificial routers that know nothing or everything about an image."""

from dataclasses import replace

import numpy as np
import pytest
import torch

from training.data.evaluation import Truth
from training.data.open import open_dataset
from training.data_config import ScenesConfig
from training.evaluate.dependence import Dependence
from training.evaluate.expert_use import LayerUse
from training.evaluate.routed import RoutedImages, route_images
from training.evaluate.routing_report import LayerRouting, RoutingReport, report_routing
from training.models.cost import Cost, measure_cost
from training.models.detector import Detector
from training.models.variants import model_config

COST = Cost(dense=16.0, experts={"p4": (1.0, 2.0, 3.0, 4.0)})
EVERY_EXPERT, NO_EXPERT = (0.5, 0.5, 0.5, 0.5), (1.0, 1.0, 0.0, 0.0)


def scenes(images):
    return open_dataset(ScenesConfig(images=images, image_hw=(64, 64)))


def truths(boxes_per_image):
    return tuple(
        Truth(np.zeros((boxes, 4), np.float32), np.zeros(boxes, np.int64), (64, 64), "")
        for boxes in boxes_per_image
    )


def planted(gates, boxes_per_image=None):
    """Images that were routed with these gates, their probabilities the same."""
    gates = np.array(gates, np.float32)
    boxes = range(len(gates)) if boxes_per_image is None else boxes_per_image
    return RoutedImages(truths(boxes), {"p4": gates}, {"p4": gates})


def test_a_router_that_knows_the_origin_is_found_out():
    by_origin = np.eye(4)[np.arange(60) % 3]  # generated scenes take turns
    report = report_routing(planted(by_origin), scenes(60), COST, permutations=1000)
    (layer,) = report.layers
    assert layer.use.information_bits == pytest.approx(np.log2(3))
    origin, density = layer.by_grouping["origin"], layer.by_grouping["density"]
    assert (origin.nmi, origin.p_value) == (pytest.approx(1), 1 / 1001)
    assert layer.follows("origin")
    assert density.nmi < 0.1
    assert not layer.follows("density")
    assert [goal.met for goal in report.goals] == [True, False, True, False], "expert 3 is dead"
    assert not report.static


def test_a_router_that_knows_the_density_is_found_out_and_dearer_experts_show():
    by_density = np.eye(4)[np.minimum(np.arange(60) // 15, 3)]
    report = report_routing(planted(by_density), scenes(60), COST, permutations=1000)
    (layer,) = report.layers
    assert layer.follows("density")
    assert not layer.follows("origin")
    assert list(report.compute.by_density.values()) == pytest.approx([7.25, 8.5, 9.75])
    assert report.compute.spearman > 0.9


@pytest.fixture(scope="module")
def model():
    torch.manual_seed(0)
    return Detector(model_config("esmoe-n", ("disc", "ring"), (64, 64))).eval()


def test_the_batch_changes_nothing_of_what_is_gathered(model):
    one, three = (route_images(model, scenes(4), batch_size=size) for size in (1, 3))
    assert list(one.gates) == list(model.mixture_layers())
    for layer, gates in one.gates.items():
        np.testing.assert_allclose(three.gates[layer], gates, atol=1e-5)
        np.testing.assert_allclose(three.probs[layer], one.probs[layer], atol=1e-5)
    assert one.boxes_per_image.tolist() == [len(scenes(4).load(index).class_ids) for index in range(4)]


def test_a_real_router_that_finds_all_experts_alike_is_static_and_has_dead_experts(model):
    for layer in model.mixture_layers().values():
        torch.nn.init.zeros_(layer.router.score.weight)
        torch.nn.init.zeros_(layer.router.score.bias)
    routed = route_images(model, scenes(5))
    report = report_routing(routed, scenes(5), measure_cost(model), permutations=100)
    assert report.static
    for layer in report.layers:
        use = layer.use
        assert (use.information_bits, use.set_entropy_bits, use.distinct_sets) == (0, 0, 1)
        assert use.dead_experts == (2, 3), "ties go to the first"
        assert layer.by_grouping["origin"] == Dependence(0, 1, 0)
    assert not any(goal.met for goal in report.goals)
    assert report.compute.spearman is None


def test_one_image_tells_nothing_and_has_no_groups():
    report = report_routing(planted([[0.6, 0.4, 0, 0]]), scenes(1), COST)
    assert (report.images, report.groupings, report.static) == (1, (), True)
    assert [goal.met for goal in report.goals] == [False, False]


def report_of(*layers):
    groupings = report_routing(planted(np.eye(4)), scenes(4), COST, permutations=1).groupings
    compute = report_routing(planted(np.eye(4)), scenes(4), COST, permutations=1).compute
    return RoutingReport(4, layers, groupings, compute)


def layer_of(bits=1.0, nmi=0.5, p_value=0.001, shares=EVERY_EXPERT):
    use = LayerUse("p4", bits, shares, shares, 2, 0.5, 1.0)
    return LayerRouting(use, {"origin": Dependence(nmi, p_value, 0.1), "density": Dependence(0.0, 1.0, 0.0)})


@pytest.mark.parametrize(
    ("layer", "met"),
    [
        pytest.param(layer_of(bits=0.5, nmi=0.3, p_value=0.0099), (True, True, True), id="all at the limit"),
        pytest.param(layer_of(bits=0.499), (False, True, True), id="too few bits"),
        pytest.param(layer_of(nmi=0.299), (True, True, False), id="too little in common"),
        pytest.param(layer_of(p_value=0.01), (True, True, False), id="may be chance"),
        pytest.param(layer_of(shares=NO_EXPERT), (True, False, True), id="dead experts"),
    ],
)
def test_goals_at_their_limits(layer, met):
    report = report_of(layer)
    assert [goal.met for goal in report.goals] == [*met, False], "density is never followed here"


@pytest.mark.parametrize(
    ("informed", "layers", "met"), [(2, 4, True), (1, 4, False), (3, 5, True), (2, 5, False)]
)
def test_half_of_the_layers_is_enough(informed, layers, met):
    goal = report_of(*[layer_of(1.0)] * informed, *[layer_of(0.1)] * (layers - informed)).goals[0]
    assert (goal.met, goal.found) == (met, f"{informed} of {layers}")


def test_a_grouping_that_is_not_there_is_not_asked_for():
    report = replace(report_of(layer_of()), groupings=())
    assert len(report.goals) == 2
    assert not layer_of().follows("season")
