"""The mixture layer: which experts run, with which weights, and that three dispatches agree."""

import pytest
import torch
from torch import Tensor

from training.config import MixtureConfig
from training.models.mixture.dispatch import Conditional, run_conditional
from training.models.mixture.layer import Dispatch, MixtureLayer
from training.models.mixture.routing import RoutingControls, choose_experts

CHANNELS = 16


def logits_for(*probabilities: float) -> Tensor:
    return torch.tensor([probabilities]).log()


@pytest.mark.parametrize(
    ("probabilities", "top_k", "threshold", "gate"),
    [
        pytest.param((0.4, 0.3, 0.2, 0.1), 1, 0.0, (1, 0, 0, 0), id="K = 1: the best takes all"),
        pytest.param((0.1, 0.3, 0.0, 0.6), 2, 0.0, (0, 1 / 3, 0, 2 / 3), id="K = 2: renormalised"),
        pytest.param((0.4, 0.3, 0.2, 0.1), 4, 0.0, (0.4, 0.3, 0.2, 0.1), id="K = E: the softmax itself"),
        pytest.param((0.25, 0.25, 0.25, 0.25), 2, 0.0, (0.5, 0.5, 0, 0), id="ties go to the lowest index"),
        pytest.param((0.5, 0.25, 0.25, 0.0), 3, 0.25, (0.5, 0.25, 0.25, 0), id="at the threshold: runs"),
        pytest.param((0.5, 0.25, 0.25, 0.0), 3, 0.26, (1, 0, 0, 0), id="just below it: does not"),
        pytest.param((0.4, 0.3, 0.2, 0.1), 4, 1.0, (1, 0, 0, 0), id="the best runs whatever the threshold"),
    ],
)
def test_gate(probabilities, top_k, threshold, gate):
    routing = choose_experts(logits_for(*probabilities), RoutingControls(top_k, threshold))
    assert routing.gate[0].tolist() == pytest.approx(gate, abs=1e-6)


def test_an_epsilon_beside_the_sum_takes_a_little_from_every_weight():
    logits = logits_for(0.4, 0.3, 0.2, 0.1)
    assert choose_experts(logits, RoutingControls(2)).gate.sum().item() == pytest.approx(1, abs=1e-7)
    gate = choose_experts(logits, RoutingControls(2), epsilon=0.1).gate[0].tolist()
    assert gate == pytest.approx((0.5, 0.375, 0, 0))


def test_each_image_may_have_its_own_controls():
    logits = logits_for(0.4, 0.3, 0.2, 0.1).repeat(2, 1)
    controls = RoutingControls(torch.tensor([[1], [3]]), torch.tensor([[0.0], [0.25]]))
    chosen = choose_experts(logits, controls).gate > 0
    assert chosen.tolist() == [[True, False, False, False], [True, True, False, False]]


def diverse_layer(num_experts: int = 4, seed: int = 0) -> MixtureLayer:
    """A layer whose router tells test images apart: its scores are spread far."""
    torch.manual_seed(seed)
    config = MixtureConfig(num_experts=num_experts, kernel_sizes=(3, 5, 7, 9)[:num_experts])
    layer = MixtureLayer(CHANNELS, config).eval()
    layer.router.score.weight.data.mul_(40)
    for parameter in (*layer.experts.parameters(), layer.bn.weight):
        parameter.data.add_(0.1 * torch.randn_like(parameter))
    return layer


def diverse_maps(batch: int) -> Tensor:
    torch.manual_seed(1)
    return torch.randn(batch, CHANNELS, 1, 1) + 0.5 * torch.randn(batch, CHANNELS, 12, 10)


@pytest.mark.parametrize("top_k", [1, 2, 3, 4])
@pytest.mark.parametrize("batch", [1, 2, 7])
def test_dense_and_grouped_dispatch_agree(batch, top_k):
    layer, x = diverse_layer(), diverse_maps(batch)
    controls = RoutingControls(top_k)
    with torch.no_grad():
        dense, routing = layer(x, controls, "dense")
        grouped, _ = layer(x, controls, "grouped")
    assert (dense - grouped).abs().max() < 1e-5
    if batch == 7 and top_k < 4:
        sets = {tuple(row) for row in (routing.gate > 0).tolist()}
        assert len(sets) > 1, "the inputs must route differently for this to prove anything"


@pytest.mark.parametrize("top_k", [1, 2, 4])
def test_conditional_dispatch_agrees_image_by_image(top_k):
    layer, x = diverse_layer(), diverse_maps(3)
    with torch.no_grad():
        dense, _ = layer(x, RoutingControls(top_k), "dense")
        for index in range(3):
            one, _ = layer(x[index : index + 1], RoutingControls(top_k), Conditional())
            assert (one[0] - dense[index]).abs().max() < 1e-5


def test_conditional_dispatch_refuses_a_batch():
    layer = diverse_layer()
    with pytest.raises(ValueError, match="take one image, got 2"):
        run_conditional(layer.experts, diverse_maps(2), torch.full((2, 4), 0.25), CHANNELS, Conditional())


@pytest.mark.parametrize("dispatch", ["dense", "grouped"])
def test_an_image_does_not_depend_on_its_neighbours(dispatch: Dispatch):
    layer, x = diverse_layer(), diverse_maps(5)
    with torch.no_grad():
        together, routing = layer(x, RoutingControls(2), dispatch)
        for index in range(5):
            alone, alone_routing = layer(x[index : index + 1], RoutingControls(2), dispatch)
            assert (alone[0] - together[index]).abs().max() < 1e-5
            assert torch.allclose(alone_routing.gate[0], routing.gate[index], atol=1e-6)


def test_grouped_dispatch_never_runs_an_expert_that_was_not_chosen():
    layer, x = diverse_layer(), diverse_maps(7)
    controls = RoutingControls(1)
    with torch.no_grad():
        healthy, routing = layer(x, controls, "grouped")
        poisoned = int(routing.gate[0].argmax())
        layer.experts[poisoned].conv.weight.fill_(float("nan"))
        got, _ = layer(x, controls, "grouped")
        dense, _ = layer(x, controls, "dense")
    spared = routing.gate[:, poisoned] == 0
    assert spared.any()
    assert not spared.all()
    assert torch.equal(got[spared], healthy[spared])
    assert got[~spared].isnan().all()
    assert dense.isnan().all()


def test_batch_norm_of_experts_sees_the_whole_batch_when_dense_and_its_own_images_when_grouped():
    x = diverse_maps(6)
    means = {}
    for dispatch in ("dense", "grouped"):
        layer = diverse_layer().train()
        _, routing = layer(x, RoutingControls(1), dispatch)
        means[dispatch] = [expert.bn.running_mean.clone() for expert in layer.experts]
    idle = int((routing.gate > 0).sum(dim=0).argmin())
    assert (routing.gate[:, idle] == 0).all(), "some expert must be idle for this to prove anything"
    assert means["grouped"][idle].abs().max() == 0
    assert means["dense"][idle].abs().max() > 0
