"""Dynamic experts: kernels averaged for each image, and run as one convolution."""

from dataclasses import replace

import pytest
import torch
from torch.nn import functional

from tests.training_builders import conditioned
from training.config import MixtureConfig, RouterConfig
from training.data_config import ScenesConfig
from training.errors import ConfigError
from training.export.targets.options import ExportOptions
from training.export.targets.targets import check_options
from training.lab.benchmark.subjects import checkpoint
from training.lab.prune.select import Rule, pruned_top_k
from training.models.cost import measure_cost
from training.models.detector import Detector
from training.models.mixture.dynamic import KernelExpert, convolve_each, mix_kernels
from training.models.mixture.layer import MixtureLayer
from training.models.mixture.routing import RoutingControls
from training.models.network import count_parameters
from training.models.variants import MixtureChoice, model_config
from training.recipes.recipes import Request, small_data
from training.trainer.checkpoint import load_model, save_model

CHANNELS, EXPERTS = 6, 3
CONFIG = MixtureConfig(
    num_experts=EXPERTS,
    top_k=EXPERTS,
    router=RouterConfig(kind="moments"),
    expert="dynamic",
    kernel_sizes=(3,) * EXPERTS,
    expert_ratio=0.5,
    activate=False,
)
CHOICE = MixtureChoice(expert="dynamic")


def layer_of(config=CONFIG, seed=0):
    """Return a layer whose norms have seen other statistics than the initial ones, in evaluation mode."""
    torch.manual_seed(seed)
    layer = MixtureLayer(CHANNELS, config)
    for norm in (layer.dynamic.expand_norm, layer.dynamic.project_norm):
        if hasattr(norm, "running_mean"):
            norm.running_mean.normal_()
            norm.running_var.uniform_(0.5, 2)
    return layer.eval()


def maps(count, seed=1):
    return torch.randn(count, CHANNELS, 7, 5, generator=torch.Generator().manual_seed(seed))


def detector_of(choice=CHOICE, variant="sparsight-n"):
    return Detector(model_config(variant, ("cat", "dog"), (64, 64), choice))


@torch.no_grad()
def test_the_layer_is_one_expert_with_the_mean_kernel_of_the_image():
    layer, x = layer_of(), maps(1)
    found, routing = layer(x, RoutingControls(EXPERTS))
    weights = layer.score(x).softmax(dim=-1)[0]
    assert (weights.max() - weights.min()) > 1e-3
    assert torch.equal(routing.gate[0], weights)
    kernels = [
        sum(w * getattr(expert, part).weight for w, expert in zip(weights, layer.experts, strict=True))
        for part in ("expand", "project")
    ]
    mixed = layer.dynamic
    hidden = functional.silu(mixed.expand_norm(functional.conv2d(x, kernels[0], padding=1)))
    expected = mixed.project_norm(functional.conv2d(hidden, kernels[1], padding=1))
    torch.testing.assert_close(found, expected)


@torch.no_grad()
@pytest.mark.parametrize("norm", ["batch", "group"])
def test_a_batch_gives_each_image_what_it_gets_alone(norm):
    layer, x = layer_of(replace(CONFIG, norm=norm)), maps(4)
    together, routing = layer(x, RoutingControls(EXPERTS))
    assert (routing.gate.max(dim=0).values - routing.gate.min(dim=0).values).max() > 1e-3
    for index in range(len(x)):
        alone, _ = layer(x[index : index + 1], RoutingControls(EXPERTS))
        torch.testing.assert_close(together[index], alone[0])


@torch.no_grad()
def test_kernels_of_a_grouped_convolution_are_those_of_the_images():
    x, kernels = maps(3), torch.randn(3, 4, CHANNELS, 3, 3)
    alone = [functional.conv2d(x[i : i + 1], kernels[i], padding=1)[0] for i in range(3)]
    torch.testing.assert_close(convolve_each(x, kernels), torch.stack(alone))


def test_a_mean_of_kernels_that_can_be_checked_by_hand():
    kernels = [torch.tensor([[1.0, 2.0]]), torch.tensor([[3.0, 6.0]])]
    weights = torch.tensor([[1.0, 0.0], [0.25, 0.75]])
    assert mix_kernels(kernels, weights).tolist() == [[[1.0, 2.0]], [[2.5, 5.0]]]


def test_every_kernel_and_the_router_get_a_gradient():
    layer = layer_of().train()
    found, _ = layer(maps(3), RoutingControls(EXPERTS))
    found.square().mean().backward()
    for name, parameter in layer.named_parameters():
        assert parameter.grad is not None, name
        assert parameter.grad.abs().sum() > 0, name


@torch.no_grad()
def test_no_number_of_experts_leaves_one_out():
    layer, x = layer_of(), maps(2)
    every, routing = layer(x, RoutingControls(EXPERTS))
    fewer, other = layer(x, RoutingControls(1, 0.9), dispatch="grouped")
    assert torch.equal(every, fewer)
    assert torch.equal(routing.gate, other.gate)
    assert (other.gate > 0).all()


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"top_k": 2}, "top_k=2 is outside 3..num_experts=3"),
        ({"kernel_sizes": (3, 3, 5)}, "must be equal: dynamic experts average kernels"),
    ],
)
def test_settings_that_contradict_dynamic_experts_are_refused(changes, message):
    with pytest.raises(ConfigError, match=message):
        MixtureLayer(CHANNELS, replace(CONFIG, **changes))


def test_a_variant_with_dynamic_experts_runs_with_all_of_them():
    config = model_config("sparsight-n", ("cat",), (64, 64), CHOICE)
    assert (config.top_k, list(config.allowed_top_k)) == (4, [4])
    assert list(model_config("sparsight-n", ("cat",), (64, 64)).allowed_top_k) == [0, 1, 2, 3, 4]
    eight = model_config("esmoe-n", ("cat",), (64, 64), replace(CHOICE, num_experts=8))
    assert {(each.top_k, each.kernel_sizes) for each in eight.mixtures.values()} == {(8, (3,) * 8)}
    with pytest.raises(ConfigError, match=r"top_k=2 is outside 4\.\.num_experts=4"):
        model_config("sparsight-n", ("cat",), (64, 64), replace(CHOICE, top_k=2))
    with pytest.raises(ConfigError, match="are whole heads"):
        model_config("moehead-n", ("cat",), (64, 64), CHOICE)
    trained = small_data(Request(class_names=("cat",), train_data=ScenesConfig(), mixture=CHOICE))
    assert set(trained.top_ks) == {4}


def test_it_costs_one_expert_and_the_averaging():
    dynamic, usual = detector_of(), detector_of(None)
    cost, other = measure_cost(dynamic), measure_cost(usual)
    kernels = sum(
        count_parameters(expert) for layer in dynamic.mixture_layers().values() for expert in layer.experts
    )
    assert cost.dense == pytest.approx(other.at_top_k(1) + 2 * kernels / 1e9, rel=1e-9)
    assert cost.fixed == cost.dense == cost.at_top_k(4)
    assert [len(costs) for costs in cost.experts.values()] == [4] * 5


def test_on_paths_the_averaging_costs_no_image_anything():
    dynamic, usual = (measure_cost(detector_of(choice, "sparsight-path-n")) for choice in (CHOICE, None))
    assert dynamic.fixed == dynamic.dense == pytest.approx(usual.at_top_k(1), rel=1e-9)


def test_a_detector_with_dynamic_experts_answers_image_by_image_and_is_stored(tmp_path):
    model = conditioned(detector_of().config)
    images = torch.randint(0, 256, (3, 64, 64, 3), dtype=torch.uint8)
    with torch.no_grad():
        together = model(images)
        alone = [model(images[i : i + 1]) for i in range(3)]
    for index, each in enumerate(alone):
        torch.testing.assert_close(together.class_logits[index], each.class_logits[0], rtol=1e-4, atol=1e-4)
    save_model(tmp_path / "model.safetensors", model, {})
    loaded, _ = load_model(tmp_path / "model.safetensors")
    with torch.no_grad():
        assert torch.equal(loaded(images).class_logits, together.class_logits)


def test_it_is_not_timed(tmp_path):
    save_model(tmp_path / "model.safetensors", detector_of(), {})
    with pytest.raises(ConfigError, match="has dynamic experts, which cannot be exported, so no graph"):
        checkpoint(tmp_path / "model.safetensors", None, None)


def test_it_is_neither_pruned_nor_exported_without_paths():
    config = detector_of().config
    with pytest.raises(ConfigError, match="sparsight-n has dynamic experts, which no target supports"):
        check_options(["openvino"], ExportOptions(), config)
    paths = model_config("sparsight-path-n", ("cat",), (64, 64), CHOICE)
    check_options(
        ["openvino", "onnx", "npu", "tensorrt"], ExportOptions(), paths
    )  # each path has its kernels
    with pytest.raises(ConfigError, match="every image uses all, so none can go"):
        pruned_top_k(config, Rule(keep=2), None)


def test_experts_have_the_size_of_simple_experts_without_norms():
    expert = KernelExpert(CHANNELS, 3, 0.5)
    assert count_parameters(expert) == 2 * 6 * 3 * 9
