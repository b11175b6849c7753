"""Experts of every kind, the shared expert, and their sum in a layer."""

import pytest
import torch
from torch.nn import functional

from training.config import MixtureConfig, RouterConfig
from training.models.mixture.dispatch import Conditional
from training.models.mixture.experts import (
    DepthwiseSeparableExpert,
    GhostExpert,
    InvertedResidualExpert,
    SimpleExpert,
)
from training.models.mixture.layer import MixtureLayer
from training.models.mixture.routing import RoutingControls

CHANNELS = 16
KINDS = ("depthwise", "simple", "ghost", "inverted")


def layer_of(**settings: object) -> MixtureLayer:
    torch.manual_seed(0)
    layer = MixtureLayer(CHANNELS, MixtureConfig(**settings)).eval()
    layer.router.score.weight.data.mul_(40)  # its scores tell images apart
    return layer


def maps(batch: int) -> torch.Tensor:
    torch.manual_seed(1)
    return torch.randn(batch, CHANNELS, 1, 1) + 0.5 * torch.randn(batch, CHANNELS, 8, 6)


@pytest.mark.parametrize("norm", ["batch", "group"])
@pytest.mark.parametrize("expert", KINDS)
def test_three_ways_to_run_experts_of_any_kind_agree(expert, norm):
    layer, x = layer_of(expert=expert, norm=norm, shared_kernel=1, residual=True), maps(5)
    for top_k in (0, 1, 2, 4):
        controls = RoutingControls(top_k)
        with torch.no_grad():
            dense, routing = layer(x, controls, "dense")
            grouped, _ = layer(x, controls, "grouped")
            ones = [layer(x[i : i + 1], controls, Conditional())[0] for i in range(5)]
        assert (dense - grouped).abs().max() < 1e-5
        assert (dense - torch.cat(ones)).abs().max() < 1e-5
        if 0 < top_k < 4:
            assert len({tuple(row) for row in (routing.gate > 0).tolist()}) > 1


def test_at_top_k_0_the_shared_expert_answers_alone():
    layer, x = layer_of(shared_kernel=3, residual=True, activate=False), maps(3)
    with torch.no_grad():
        alone, routing = layer(x, RoutingControls(0), "grouped")
        assert torch.equal(routing.gate, torch.zeros(3, 4))
        assert routing.probs.sum(dim=1).tolist() == pytest.approx([1, 1, 1])
        assert torch.allclose(alone, layer.shared(x) + x)
        assert not torch.allclose(alone, layer(x, RoutingControls(1), "grouped")[0], atol=1e-3)


def test_images_with_and_without_experts_share_a_batch():
    layer, x = layer_of(shared_kernel=1, activate=False), maps(2)
    with torch.no_grad():
        both, _ = layer(x, RoutingControls(torch.tensor([[0], [2]])), "dense")
        assert torch.allclose(both[:1], layer(x[:1], RoutingControls(0), "dense")[0], atol=1e-6)
        assert torch.allclose(both[1:], layer(x[1:], RoutingControls(2), "dense")[0], atol=1e-6)


def test_depthwise_expert_filters_then_mixes():
    torch.manual_seed(0)
    expert, x = DepthwiseSeparableExpert(CHANNELS, 5).eval(), maps(2)
    filtered = functional.conv2d(x, expert.depthwise.weight, padding=2, groups=CHANNELS)
    mixed = torch.einsum("oc,bchw->bohw", expert.conv.weight[:, :, 0, 0], filtered)
    assert torch.allclose(expert(x), functional.silu(expert.bn(mixed)), atol=1e-5)


@pytest.mark.parametrize(("kernel", "ratio"), [(1, 2.0), (3, 0.5)])
def test_simple_expert_has_two_convolutions_of_its_kernel_and_ends_without_activation(kernel, ratio):
    torch.manual_seed(0)
    expert, x = SimpleExpert(CHANNELS, kernel, ratio, "batch").eval(), maps(2)
    assert expert.expand.conv.weight.shape == (int(CHANNELS * ratio), CHANNELS, kernel, kernel)
    assert expert.project.conv.weight.shape == (CHANNELS, int(CHANNELS * ratio), kernel, kernel)
    assert expert(x).min() < -0.5, "SiLU never falls below -0.28"


def test_ghost_expert_makes_half_of_its_maps_from_the_other_half():
    torch.manual_seed(0)
    expert, x = GhostExpert(CHANNELS, 3, "batch").eval(), maps(2)
    answer = expert(x)
    assert torch.equal(answer[:, : CHANNELS // 2], expert.primary(x))
    assert torch.allclose(answer[:, CHANNELS // 2 :], expert.cheap(answer[:, : CHANNELS // 2]))
    plain = sum(p.numel() for p in SimpleExpert(CHANNELS, 3, 1.0, "batch").parameters())
    assert sum(p.numel() for p in expert.parameters()) < plain / 2


def test_inverted_expert_filters_a_wider_map():
    expert = InvertedResidualExpert(CHANNELS, 5, 2.0, "batch")
    assert expert.filter.conv.weight.shape == (2 * CHANNELS, 1, 5, 5)
    assert expert(maps(1)).shape == (1, CHANNELS, 8, 6)


def test_group_norm_makes_training_independent_of_the_batch():
    """Which is why experts with it may see only the images that chose them, in training too."""
    layer = layer_of(expert="simple", norm="group", activate=False, router=RouterConfig()).train()
    x = maps(4)
    together, _ = layer(x, RoutingControls(2), "grouped")
    alone, _ = layer(x[:1], RoutingControls(2), "grouped")
    assert torch.allclose(together[:1], alone, atol=1e-5)


def test_residual_adds_the_input():
    x = maps(2)
    with torch.no_grad():
        plain, _ = layer_of(activate=False)(x, RoutingControls(2), "dense")
        residual, _ = layer_of(activate=False, residual=True)(x, RoutingControls(2), "dense")
    assert torch.allclose(residual, plain + x, atol=1e-6)
