"""Gathered experts give the same results as experts that run one by one."""

import pytest
import torch

from training.config import MixtureConfig
from training.export.graph.export_graph import fold_batch_norm
from training.models.mixture.dispatch import Conditional, Gathered, run_conditional
from training.models.mixture.gathered import can_gather, run_gathered
from training.models.mixture.layer import MixtureLayer
from training.models.mixture.routing import RoutingControls

CHANNELS = 16
KINDS = {
    "light": MixtureConfig(kernel_sizes=(3, 5, 7, 9)),
    "full": MixtureConfig(expert="simple", kernel_sizes=(3,) * 4, expert_ratio=0.5, activate=False),
    "pointwise": MixtureConfig(expert="simple", kernel_sizes=(1,) * 4, shared_kernel=1, residual=True),
}
SIZES = {"large": (24, 20), "small": (4, 4)}  # beside the weights of an expert


def folded_layer(config: MixtureConfig) -> MixtureLayer:
    """A layer whose router tells maps apart, its experts' norms of their own and folded away."""
    torch.manual_seed(0)
    layer = MixtureLayer(CHANNELS, config).eval()
    layer.router.score.weight.data.mul_(40)
    for name, value in [*layer.experts.named_parameters(), *layer.experts.named_buffers()]:
        if value.is_floating_point() and ".bn." in name:
            value.data.add_(0.3 * torch.rand_like(value))
    return fold_batch_norm(layer)


def diverse_maps(batch: int, size: tuple[int, int]) -> torch.Tensor:
    torch.manual_seed(1)
    return torch.randn(batch, CHANNELS, 1, 1) + 0.5 * torch.randn(batch, CHANNELS, *size)


@pytest.mark.parametrize("size", SIZES)
@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("top_k", [1, 2, 3, 4])
def test_a_fixed_batch_and_a_graph_for_one_top_k_equal_dense(kind, top_k, size):
    layer, x = folded_layer(KINDS[kind]), diverse_maps(6, SIZES[size])
    controls = RoutingControls(top_k)
    with torch.no_grad():
        dense, routing = layer(x, controls, "dense")
        together, _ = layer(x, controls, Gathered(top_k))
        ones = [layer(x[i : i + 1], controls, Conditional(exactly=top_k))[0] for i in range(6)]
    assert (dense - together).abs().max() < 1e-5
    assert (dense - torch.cat(ones)).abs().max() < 1e-5
    if top_k < 4:
        assert len({tuple(row) for row in (routing.gate > 0).tolist()}) > 1, "they must route differently"


@pytest.mark.parametrize("kind", KINDS)
def test_slots_that_an_image_leaves_empty_change_nothing_and_touch_nothing(kind):
    layer, x = folded_layer(KINDS[kind]), diverse_maps(2, SIZES["large"])
    gate = torch.tensor([[0.0, 1.0, 0.0, 0.0], [0.25, 0.0, 0.75, 0.0]])
    with torch.no_grad():
        wanted = run_gathered(layer.experts, x, gate, 2)
        for parameter in layer.experts[3].parameters():
            parameter.fill_(torch.nan)
        assert torch.equal(run_gathered(layer.experts, x, gate, 3), run_gathered(layer.experts, x, gate, 3))
        assert (run_gathered(layer.experts, x, gate, 3) - wanted).abs().max() < 1e-5


@pytest.mark.parametrize("size", SIZES)
def test_an_expert_that_is_not_chosen_is_not_touched_by_a_graph_for_one_top_k(size):
    layer, x = folded_layer(KINDS["full"]), diverse_maps(1, SIZES[size])
    gate = torch.tensor([[0.0, 0.4, 0.6, 0.0]])
    with torch.no_grad():
        for parameter in layer.experts[0].parameters():
            parameter.fill_(torch.nan)
        answer = run_conditional(layer.experts, x, gate, CHANNELS, Conditional(exactly=2))
    assert torch.isfinite(answer).all()


@pytest.mark.parametrize(
    "config",
    [
        pytest.param(MixtureConfig(expert="ghost", kernel_sizes=(3,) * 4), id="ghost"),
        pytest.param(MixtureConfig(norm="group"), id="group norm does not fold"),
        pytest.param(MixtureConfig(expert="simple", kernel_sizes=(1, 3, 3, 3)), id="shapes differ"),
    ],
)
def test_experts_that_cannot_be_gathered_are_refused_and_run_one_by_one(config):
    layer, x = folded_layer(config), diverse_maps(1, SIZES["large"])
    assert not can_gather(layer.experts)
    with pytest.raises(ValueError, match="only depthwise and simple experts"):
        run_gathered(layer.experts, x, torch.full((1, 4), 0.25), 2)
    with torch.no_grad():
        for top_k in (2, 4):
            dense, _ = layer(x, RoutingControls(top_k), "dense")
            exact, _ = layer(x, RoutingControls(top_k), Conditional(exactly=top_k))
            assert (dense - exact).abs().max() < 1e-5


def test_norms_that_are_not_folded_yet_are_refused():
    layer = MixtureLayer(CHANNELS, KINDS["full"]).eval()
    with pytest.raises(ValueError, match="with batch norm folded"):
        run_gathered(layer.experts, diverse_maps(1, (4, 4)), torch.full((1, 4), 0.25), 2)
