"""Routers: scores for each image and size of feature map, and the noise that training adds."""

import pytest
import torch
from torch import nn
from torch.nn import functional

from training.config import MixtureConfig, RouterConfig
from training.models.mixture.layer import MixtureLayer
from training.models.mixture.router import build_router, shrink, whole_pool
from training.models.mixture.routing import RoutingControls

CHANNELS = 16
KINDS = ("pooled", "moments", "spatial", "adaptive", "ultra")


def router_of(kind: str, **settings: object) -> nn.Module:
    torch.manual_seed(0)
    return build_router(CHANNELS, 4, RouterConfig(kind=kind, **settings)).eval()


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("side", [1, 4, 5, 12])
def test_scores_have_a_row_for_each_image_even_of_the_smallest_map(kind, side):
    logits = router_of(kind)(torch.randn(3, CHANNELS, side, side + 3))
    assert logits.shape == (3, 4)
    assert logits.isfinite().all()


@pytest.mark.parametrize("kind", KINDS)
def test_scores_of_an_image_do_not_depend_on_its_neighbours(kind):
    router, x = router_of(kind), torch.randn(5, CHANNELS, 12, 10)
    together = router(x)
    for index in range(5):
        assert torch.allclose(router(x[index : index + 1])[0], together[index], atol=1e-5)
    assert together.std(dim=0).min() > 1e-3, "images must score differently for this to prove anything"


@pytest.mark.parametrize("kind", KINDS)
def test_one_image_is_enough_to_train_on(kind):
    x = torch.randn(1, CHANNELS, 12, 10)
    assert router_of(kind).train()(x).isfinite().all()


def test_pooled_router_is_two_linear_layers_on_the_average():
    router, x = router_of("pooled", reduction=2), torch.randn(2, CHANNELS, 6, 6)
    hidden = functional.silu(x.mean(dim=(2, 3)) @ router.hidden.weight.T + router.hidden.bias)
    assert torch.allclose(router(x), hidden @ router.score.weight.T + router.score.bias, atol=1e-6)
    assert router.hidden.out_features == 8


def test_spatial_router_scores_squares_of_cells_and_averages_the_scores():
    router, x = router_of("spatial", pool=2), torch.randn(1, CHANNELS, 4, 4)
    halves = functional.avg_pool2d(x, 2)
    cells = router.norm(router.score(router.hidden(halves)))
    assert torch.allclose(router(x), cells.mean(dim=(2, 3)))
    assert not torch.allclose(router(x), router_of("spatial", pool=1)(x), atol=1e-3), "less pooling sees more"


@pytest.mark.parametrize(
    ("side", "pool", "shrunk"), [(4, 4, 4), (5, 4, 1), (8, 4, 2), (16, 8, 2), (8, 8, 8), (3, 1, 3)]
)
def test_a_map_no_larger_than_one_square_is_not_shrunk(side, pool, shrunk):
    assert shrink(torch.zeros(1, 1, side, side), pool).shape[-1] == shrunk
    assert shrink(torch.zeros(1, 1, side, 64), pool).shape[-2] == shrunk


@pytest.mark.parametrize(
    ("height", "width", "square"), [(80, 80, 8), (20, 20, 5), (12, 16, 4), (13, 13, 1), (2, 2, 2), (8, 24, 8)]
)
def test_ultra_router_shrinks_by_what_leaves_no_cell_over(height, width, square):
    assert whole_pool(height, width, 8) == square


def test_ultra_router_sees_the_last_cell_of_a_map_that_its_pool_does_not_divide():
    router, x = router_of("ultra", pool=8), torch.randn(1, CHANNELS, 20, 20)
    changed = x.clone()
    changed[..., -1, -1] += 5
    assert (router(x) - router(changed)).abs().max() > 1e-5


@pytest.mark.parametrize("kind", KINDS)
def test_last_weights_start_as_narrow_as_asked(kind):
    weight = router_of(kind, init_std=0.01, min_hidden=256).score.weight
    assert weight.std().item() == pytest.approx(0.01, rel=0.15)


def layer_of(**settings: object) -> MixtureLayer:
    torch.manual_seed(0)
    return MixtureLayer(CHANNELS, MixtureConfig(router=RouterConfig(**settings))).eval()


def test_temperature_divides_the_scores():
    x = torch.randn(2, CHANNELS, 6, 6)
    plain = layer_of().score(x)
    assert torch.allclose(layer_of(temperature=2.0).score(x), plain / 2)
    learned = layer_of(temperature=2.0, learn_temperature=True)
    assert torch.allclose(learned.score(x), plain / 2)
    learned.score(x).square().sum().backward()
    assert learned.log_temperature.grad.abs() > 0


@pytest.mark.parametrize("settings", [{"noise": 1.0}, {"dropout": 0.5}])
def test_noise_and_dropout_are_for_training_only(settings):
    layer, x = layer_of(**settings), torch.randn(2, CHANNELS, 6, 6)
    assert torch.equal(layer.score(x), layer.score(x))
    layer.train()
    assert not torch.equal(layer.score(x), layer.score(x))


def test_scores_are_computed_in_float32_under_half_precision():
    layer, x = layer_of(kind="spatial"), torch.randn(2, CHANNELS, 12, 12)
    with torch.autocast("cpu", torch.bfloat16):
        half, routing = layer(x, RoutingControls(2), "dense")
    assert routing.logits.dtype == torch.float32
    assert torch.equal(routing.logits, layer(x, RoutingControls(2), "dense")[1].logits)
    assert not torch.equal(half, layer(x, RoutingControls(2), "dense")[0]), "the experts must be in half"


def test_moments_tell_one_bright_cell_from_the_same_light_everywhere():
    router = router_of("moments")
    even = torch.full((1, CHANNELS, 8, 8), 0.25)
    spot = torch.zeros(1, CHANNELS, 8, 8)
    spot[:, :, 3, 3] = 16.0
    assert torch.allclose(even.mean(dim=(2, 3)), spot.mean(dim=(2, 3)))
    assert (router(even) - router(spot)).abs().max() > 0.1
