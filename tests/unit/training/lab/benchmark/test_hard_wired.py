"""The hard-wired model for one image gives the same answer and contains only the chosen experts."""

from dataclasses import replace

import pytest
import torch

from tests.training_builders import diverse_images
from training.config import RouterConfig
from training.lab.benchmark.hard_wired import chosen_experts, hard_wire
from training.lab.benchmark.subjects import settle
from training.models.cost import measure_cost
from training.models.detector import Detector
from training.models.mixture.routing import RoutingControls
from training.models.network import count_parameters
from training.models.variants import model_config


def answers(model, canvas, top_k):
    with torch.inference_mode():
        predictions = model(canvas[None], RoutingControls(top_k), "dense")
        return model.decode(predictions)


def untrained(variant, router=None):
    """A model at 64 × 64; with another router, if asked: batch norm of scores has to be cut as well."""
    torch.manual_seed(0)
    config = model_config(variant, ("disc", "ring"), (64, 64))
    if router:
        mixtures = {p: replace(m, router=RouterConfig(kind=router)) for p, m in config.mixtures.items()}
        config = replace(config, mixtures=mixtures)
    model = Detector(config)
    settle(model)
    for norm in model.modules():
        if isinstance(norm, torch.nn.BatchNorm2d):  # most of the way: all of it would magnify rounding
            norm.running_var.mul_(0.95).add_(0.05)
    return model.eval()


CASES = [
    pytest.param("esmoe-n", None, 2, id="pooled router"),
    pytest.param("esmoe-n", "adaptive", 1, id="adaptive router"),
    pytest.param("modular-n", None, 6, id="layers of 4, 8 and 16: more than one of them has"),
    pytest.param("ultra-n", None, 2, id="ultra router, group norm"),
    pytest.param("sparsight-n", None, 2, id="router of moments"),
    pytest.param("moehead-n", None, 2, id="experts in the head"),
    pytest.param("sparsight-n", None, 0, id="no experts: the shared one alone"),
]


@pytest.mark.parametrize(("variant", "router", "top_k"), CASES)
def test_with_only_the_chosen_experts_a_image_gets_the_same_answer(variant, router, top_k):
    model = untrained(variant, router)
    for canvas in diverse_images(1):
        kept = chosen_experts(model, canvas.numpy(), top_k)
        wired = hard_wire(model, kept)
        for layer, whole in zip(
            wired.mixture_layers().values(), model.mixture_layers().values(), strict=True
        ):
            assert len(layer.experts) == min(top_k, len(whole.experts))
        for mine, original in zip(answers(wired, canvas, top_k), answers(model, canvas, top_k), strict=True):
            torch.testing.assert_close(mine, original, rtol=1e-5, atol=1e-4)


def test_other_experts_than_the_chosen_ones_give_another_answer():
    model, canvas = untrained("esmoe-n"), diverse_images(1)[0]
    kept = chosen_experts(model, canvas.numpy(), 2)
    others = {name: [expert for expert in range(4) if expert not in ids] for name, ids in kept.items()}
    differences = [
        (mine - original).abs().max()
        for mine, original in zip(
            answers(hard_wire(model, others), canvas, 2), answers(model, canvas, 2), strict=True
        )
    ]
    assert max(differences) > 1e-2


def test_it_costs_what_the_chosen_experts_cost_and_the_original_is_left_whole():
    model = untrained("sparsight-n")
    before, parameters = measure_cost(model), count_parameters(model)
    kept = dict.fromkeys(model.mixture_layers(), (0, 1))
    routed = sum(sum(costs[2:]) for costs in before.experts.values())
    after = measure_cost(hard_wire(model, kept)).dense
    assert after == pytest.approx(before.dense - routed, rel=1e-3)
    assert (measure_cost(model), count_parameters(model)) == (before, parameters)


def test_a_layer_without_a_shared_expert_has_to_keep_one():
    model = untrained("esmoe-n")
    with pytest.raises(ValueError, match="has to keep one"):
        hard_wire(model, dict.fromkeys(model.mixture_layers(), ()))
