"""The named variants: parameters, GFLOPs, allowed changes, and a run of each."""

from dataclasses import replace
from typing import get_args

import pytest
import torch

from tests.training_builders import diverse_images, tiny_model
from training.config import RouterKind
from training.errors import ConfigError
from training.models.cost import Cost, measure_cost
from training.models.detector import Detector
from training.models.mixture.routing import RoutingControls
from training.models.network import count_parameters
from training.models.variants import DETECT_VARIANTS, MixtureChoice, model_config

COCO_CLASSES = tuple(f"class {index}" for index in range(80))
FIXED_BINS = 16  # originals count 0 to 15 of the box distribution as weights that are never trained
WITH_MIXTURES = [variant for variant in DETECT_VARIANTS if not variant.startswith("yolov12")]
NANO_MIXTURES = [variant for variant in WITH_MIXTURES if variant.endswith("-n")]


def size_and_cost(variant: str, choice: MixtureChoice | None = None) -> tuple[int, Cost]:
    with torch.device("meta"):  # shapes are all that is counted
        model = Detector(model_config(variant, COCO_CLASSES, (640, 640), choice))
        return count_parameters(model), measure_cost(model)


@pytest.mark.parametrize(
    ("variant", "parameters", "gflops"),
    [
        ("yolov12-n", 2_602_288, 6.49),
        ("yolov12-s", 9_284_096, 21.4),
        ("yolov12-m", 20_199_168, 67.5),
        ("yolov12-l", 26_450_784, 88.9),
        ("yolov12-x", 59_210_784, 199.0),
        ("modular-n", 7_546_984, 9.37),
        ("modular-s", 29_151_288, 33.0),
        ("modular-m", 52_207_800, 111.8),
        ("modular-l", 58_459_416, 133.2),
    ],
)
def test_size_and_cost_are_those_of_the_original(variant, parameters, gflops):
    own, cost = size_and_cost(variant)
    assert own == parameters - FIXED_BINS
    top_k = model_config(variant, COCO_CLASSES, (640, 640)).top_k
    assert cost.at_top_k(top_k) == pytest.approx(gflops, rel=0.005)


@pytest.mark.parametrize(
    ("size", "parameters", "gflops"),
    [
        ("n", 2_694_364, 8.55),
        ("s", 9_706_828, 28.8),
        ("m", 23_911_564, 96.9),
        ("l", 30_163_180, 118.4),
        ("x", 67_439_724, 264.0),
    ],
)
def test_es_moe_with_the_three_experts_of_the_released_weights(size, parameters, gflops):
    own, cost = size_and_cost(f"esmoe-{size}", MixtureChoice(num_experts=3, top_k=3))
    assert own == parameters - FIXED_BINS
    assert cost.dense == pytest.approx(gflops, rel=0.005)


def test_es_moe_with_the_four_experts_of_the_paper():
    assert size_and_cost("esmoe-n")[0] == 2_844_648 - FIXED_BINS


@pytest.mark.parametrize("variant", ["sparsight-n", "sparsight-s", "sparsight-path-n", "sparsight-path-s"])
def test_most_of_the_work_of_our_own_is_routed_and_may_be_left_out(variant):
    _, cost = size_and_cost(variant)
    assert 1 - cost.fixed / cost.dense >= 0.55
    assert cost.at_top_k(0) == cost.fixed
    assert model_config(variant, ("a",), (64, 64)).allowed_top_k == range(5)


def test_a_light_head_has_two_fifths_of_the_work_of_a_whole_one():
    _, cost = size_and_cost("moehead-n")
    _, dense = size_and_cost("yolov12-n")
    whole = dense.dense - cost.fixed  # the same model without any head
    one = sum(costs[0] for costs in cost.experts.values())
    assert one / whole == pytest.approx(0.4, abs=0.02)


@pytest.mark.parametrize("variant", NANO_MIXTURES)
def test_every_mixture_variant_is_equal_under_dense_and_grouped_dispatch(variant):
    model = tiny_model(variant)
    torch.manual_seed(2)
    images, sets = diverse_images(6), set()
    for top_k in (model.config.allowed_top_k[0], 2, model.config.allowed_top_k[-1]):
        with torch.no_grad():
            dense, grouped = (model(images, RoutingControls(top_k), name) for name in ("dense", "grouped"))
        assert (dense.class_logits - grouped.class_logits).abs().max() < 1e-4
        assert (dense.box_logits - grouped.box_logits).abs().max() < 1e-4
        chosen = [tuple(row) for routing in dense.routings.values() for row in (routing.gate > 0).tolist()]
        sets.update(chosen)
        if top_k == 0:
            assert not any(map(any, chosen))
    assert len(sets) > 3, "images must route differently for this to prove anything"


@pytest.mark.parametrize("variant", NANO_MIXTURES)
def test_an_answer_of_every_variant_is_the_same_alone_and_in_a_batch(variant):
    model = tiny_model(variant)
    torch.manual_seed(3)
    images = diverse_images(4)
    with torch.no_grad():
        together = model(images, dispatch="grouped")
        for index in range(4):
            alone = model(images[index : index + 1], dispatch="grouped")
            assert (alone.class_logits[0] - together.class_logits[index]).abs().max() < 1e-4
            for layer, routing in alone.routings.items():
                assert torch.allclose(routing.gate[0], together.routings[layer].gate[index], atol=1e-4)


@pytest.mark.parametrize("variant", NANO_MIXTURES)
def test_every_router_and_every_expert_of_every_variant_learns(variant):
    model = tiny_model(variant).train()
    torch.manual_seed(4)
    # With all softness, every path has some weight for every image.
    predictions = model(diverse_images(8), RoutingControls(model.config.allowed_top_k[-1], softness=1.0))
    (predictions.class_logits.sigmoid().sum() + predictions.box_logits.softmax(-1)[..., 0].sum()).backward()
    for name, parameter in model.named_parameters():
        assert parameter.grad is not None, name
        assert parameter.grad.isfinite().all(), name
        if (
            name.startswith("path_router.")
            or ".router." in name
            or ".experts." in name
            or ".log_temperature" in name
        ):
            assert parameter.grad.abs().max() > 0, name


def test_an_unknown_variant_names_those_there_are():
    with pytest.raises(ConfigError, match="no variant 'yolo'; there are: yolov12-n, yolov12-s"):
        model_config("yolo", ("a",), (640, 640))


def test_number_of_experts_and_top_k_may_be_chosen():
    config = model_config("esmoe-n", ("a",), (64, 64), MixtureChoice(num_experts=8, top_k=3))
    assert {mixture.kernel_sizes for mixture in config.mixtures.values()} == {(3, 5, 7, 9, 11, 13, 15, 17)}
    assert config.top_k == 3
    fewer = model_config("esmoe-n", ("a",), (64, 64), MixtureChoice(num_experts=1))
    assert fewer.top_k == 1, "the default gives way to the number of experts"
    equal = model_config("modular-n", ("a",), (64, 64), MixtureChoice(num_experts=2))
    assert {mixture.kernel_sizes for mixture in equal.mixtures.values()} == {(1, 1)}


@pytest.mark.parametrize(
    ("variant", "choice", "kernels"),
    [
        pytest.param("esmoe-n", {"expert": "ghost"}, {(3, 3, 3, 3)}, id="different kernels give way to 3"),
        pytest.param(
            "modular-n", {"expert": "ghost"}, {(1,) * n for n in (4, 8, 16)}, id="a common one stays"
        ),
        pytest.param(
            "sparsight-n", {"expert": "inverted", "num_experts": 2}, {(3, 3)}, id="fewer of another"
        ),
        pytest.param(
            "modular-n", {"expert": "depthwise", "num_experts": 2}, {(3, 5)}, id="depthwise ones grow"
        ),
        pytest.param("esmoe-n", {"expert": "depthwise"}, {(3, 5, 7, 9)}, id="what there is already"),
    ],
)
def test_the_kind_of_expert_may_be_chosen(variant, choice, kernels):
    config = model_config(variant, ("a",), (64, 64), MixtureChoice(**choice))
    assert {mixture.expert for mixture in config.mixtures.values()} == {choice["expert"]}
    assert {mixture.kernel_sizes for mixture in config.mixtures.values()} == kernels
    predictions = Detector(config).eval()(torch.zeros(1, 64, 64, 3, dtype=torch.uint8))
    assert predictions.class_logits.isfinite().all()


@pytest.mark.parametrize("kind", get_args(RouterKind))
@pytest.mark.parametrize("variant", ["esmoe-n", "moehead-n", "sparsight-n"])
def test_the_kind_of_router_may_be_chosen_and_nothing_else_changes(variant, kind):
    usual = model_config(variant, ("a",), (64, 64))
    config = model_config(variant, ("a",), (64, 64), MixtureChoice(router=kind))
    assert {mixture.router.kind for mixture in config.mixtures.values()} == {kind}
    for place, mixture in config.mixtures.items():
        as_before = replace(mixture.router, kind=usual.mixtures[place].router.kind)
        assert replace(mixture, router=as_before) == usual.mixtures[place]
    predictions = Detector(config).eval()(torch.zeros(1, 64, 64, 3, dtype=torch.uint8))
    assert predictions.class_logits.isfinite().all()


def test_the_number_of_paths_and_of_their_experts_may_be_chosen():
    choice = MixtureChoice(paths=2, num_experts=6, top_k=1)
    config = model_config("sparsight-path-n", ("a",), (64, 64), choice)
    assert (config.paths.count, config.top_k, config.allowed_top_k) == (2, 1, range(7))
    predictions = Detector(config).eval()(torch.zeros(1, 64, 64, 3, dtype=torch.uint8))
    assert predictions.path.gate.shape == (1, 2)
    assert {routing.gate.shape for routing in predictions.routings.values()} == {(1, 6)}


@pytest.mark.parametrize(
    ("variant", "choice", "message"),
    [
        ("yolov12-n", MixtureChoice(router="pooled"), "yolov12-n has no mixture"),
        ("esmoe-n", MixtureChoice(router="other"), "router kind 'other' is none of pooled, moments, spatial"),
        ("yolov12-n", MixtureChoice(num_experts=2), "yolov12-n has no mixture"),
        ("yolov12-n", MixtureChoice(expert="ghost"), "yolov12-n has no mixture"),
        ("moehead-n", MixtureChoice(expert="ghost"), "experts of moehead-n are whole heads"),
        ("esmoe-n", MixtureChoice(expert="other"), "expert 'other' is none of depthwise, simple, ghost"),
        ("modular-n", MixtureChoice(placement="neck"), "the placement of modular-n's mixtures is fixed"),
        ("esmoe-n", MixtureChoice(num_experts=2, top_k=3), "top_k=3 is outside 1..num_experts=2"),
        ("esmoe-n", MixtureChoice(top_k=0), "top_k=0 is outside 1..num_experts=4"),
        ("sparsight-path-n", MixtureChoice(router="pooled"), "sparsight-path-n has no routers in its layers"),
        ("sparsight-path-n", MixtureChoice(paths=1), "count=1 must be at least 2"),
        ("sparsight-n", MixtureChoice(paths=4), "sparsight-n has a router in every layer and no paths"),
        ("yolov12-n", MixtureChoice(paths=4), "yolov12-n has no mixture"),
    ],
)
def test_a_choice_that_cannot_be_is_refused(variant, choice, message):
    with pytest.raises(ConfigError, match=message):
        model_config(variant, ("a",), (64, 64), choice)
