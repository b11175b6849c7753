"""Whole detectors: size, cost, shapes, independence of the batch."""

import pytest
import torch

from tests.training_builders import tiny_model
from training.models.cost import measure_cost
from training.models.detector import Detector, Predictions
from training.models.layers import halve
from training.models.mixture.routing import RoutingControls
from training.models.network import count_parameters
from training.models.variants import MixtureChoice, model_config
from training.ops.nms import select_candidates


def test_cost_of_the_mixture_is_the_fixed_part_and_the_experts():
    cost = measure_cost(tiny_model())
    experts = sum(sum(costs) for costs in cost.experts.values())
    assert cost.fixed + experts == pytest.approx(cost.dense)
    assert cost.fixed < cost.at_top_k(1) < cost.at_top_k(2) < cost.at_top_k(4) == pytest.approx(cost.dense)
    # A 3×3 depthwise and a 1×1 convolution of 64 channels on a 16 × 16 map, 2 operations a product.
    assert cost.experts["backbone.p2"][0] == pytest.approx(2 * 16 * 16 * (64 * 9 + 64 * 64) / 1e9)


@pytest.mark.parametrize(
    ("placement", "layers"),
    [
        ("backbone", ["backbone.p2", "backbone.p3", "backbone.p4", "backbone.p5"]),
        ("neck", ["neck.p3", "neck.p4", "neck.p5"]),
        (
            "both",
            ["backbone.p2", "backbone.p3", "backbone.p4", "backbone.p5", "neck.p3", "neck.p4", "neck.p5"],
        ),
    ],
)
def test_routing_of_every_layer_is_returned(placement, layers):
    choice = MixtureChoice(placement=placement, num_experts=2, top_k=1)
    model = Detector(model_config("esmoe-n", ("a",), (64, 64), choice)).eval()
    with torch.no_grad():
        predictions = model(torch.zeros(3, 64, 64, 3, dtype=torch.uint8))
    assert list(predictions.routings) == layers == list(model.mixture_layers())
    assert all(routing.gate.shape == (3, 2) for routing in predictions.routings.values())
    assert predictions.box_logits.shape == (3, 8 * 8 + 4 * 4 + 2 * 2, 4, 16)
    assert predictions.class_logits.shape == (3, 84, 1)


@pytest.mark.parametrize("variant", ["yolov12-n", "esmoe-n"])
def test_an_answer_does_not_depend_on_what_it_is_batched_with(variant):
    model = tiny_model(variant)
    generator = torch.Generator().manual_seed(0)
    images = torch.randint(0, 256, (4, 64, 64, 3), dtype=torch.uint8, generator=generator)
    images[1] //= 8
    images[2, :, 32:] = 255
    with torch.no_grad():
        together = model(images, RoutingControls(2), "grouped")
        for index in range(4):
            alone = model(images[index : index + 1], RoutingControls(2), "grouped")
            assert (alone.class_logits[0] - together.class_logits[index]).abs().max() < 1e-4
            assert (alone.box_logits[0] - together.box_logits[index]).abs().max() < 1e-4


def test_whole_network_is_equal_under_dense_and_grouped_dispatch_on_inputs_that_route_differently():
    model = tiny_model()
    generator = torch.Generator().manual_seed(0)
    images = torch.randint(0, 256, (6, 64, 64, 3), dtype=torch.uint8, generator=generator)
    images = (images.float() * torch.linspace(0.05, 1, 6)[:, None, None, None]).to(torch.uint8)
    with torch.no_grad():
        dense, grouped = (model(images, RoutingControls(2), name) for name in ("dense", "grouped"))
    assert (dense.class_logits - grouped.class_logits).abs().max() < 1e-5
    sets = {tuple(row) for routing in dense.routings.values() for row in (routing.gate > 0).tolist()}
    assert len(sets) > 1


@pytest.mark.parametrize("limit", [1, 20, 83, 84, 1000])
def test_the_best_pairs_are_the_same_where_only_anchors_that_matter_are_decoded(limit):
    model = tiny_model("yolov12-n")
    generator = torch.Generator().manual_seed(1)
    boxes = 3 * torch.randn(2, 84, 4, 16, generator=generator)
    classes = 3 * torch.randn(2, 84, len(model.config.class_names), generator=generator)
    predictions = Predictions(boxes, classes, {})
    few, whole = model.decode(predictions, limit), model.decode(predictions)
    assert few[0].shape == (2, min(limit, 84), 4)
    for got, want in zip(select_candidates(*few, limit), select_candidates(*whole, limit), strict=True):
        assert torch.equal(got, want)


def test_a_light_step_down_halves_the_map_for_a_fraction_of_the_weights():
    full, light = halve(8, 16, light=False), halve(8, 16, light=True)
    x = torch.rand(1, 8, 6, 4)
    assert full(x).shape == light(x).shape == (1, 16, 3, 2)
    assert count_parameters(full) == 8 * 16 * 9 + 2 * 16
    assert count_parameters(light) == 8 * 9 + 2 * 8 + 8 * 16 + 2 * 16
