"""Converted mixture layers give the results of the published formulas."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor
from torch.nn import functional

from tests.unit.training.convert.foreign_models import (
    RELEASED,
    SPATIAL,
    TOP_TWO,
    Mixture,
    Shells,
    foreign_classes,
    save,
)
from training.config import MixtureConfig
from training.convert.archive import open_archive
from training.convert.container import child
from training.convert.keys import match_tensors
from training.convert.layouts import mixture_config
from training.models.mixture.layer import MixtureLayer
from training.models.mixture.routing import RoutingControls
from training.models.variants import model_config

CHANNELS = 16
V01_EPSILON = 1e-6  # beside the sum of the chosen weights; EsMoE in evaluation has none

State = dict[str, Tensor]


def converted(path: Path, module: Any, usual: MixtureConfig) -> tuple[MixtureLayer, State]:
    """Our layer, configured as the file says and with its weights, and those by their foreign names."""
    save(path, module)
    with open_archive(path) as archive:
        record = archive.contents()["model"]
        assert child(record, "experts") is not None
        layer = MixtureLayer(CHANNELS, mixture_config(usual, record)[0]).eval()
        found = match_tensors(record, "model.5", layer, "layer")
        weights = {name.removeprefix("layer."): archive.tensor(tensor[1]) for name, tensor in found.items()}
    shapes = layer.state_dict()
    layer.load_state_dict({name: tensor.reshape(shapes[name].shape) for name, tensor in weights.items()})
    return layer.float(), {name: tensor.float() for name, tensor in module.state_dict().items()}


def norm(x: Tensor, state: State, name: str) -> Tensor:
    mean, var = state[f"{name}.running_mean"], state[f"{name}.running_var"]
    return functional.batch_norm(x, mean, var, state[f"{name}.weight"], state[f"{name}.bias"], eps=1e-3)


def es_moe(x: Tensor, state: State, experts: int, top_k: int) -> Tensor:
    """One image: softmax of the router, the K largest made to sum to 1, then norm and SiLU on the sum."""
    hidden = functional.silu(
        functional.conv2d(
            x.mean((2, 3), keepdim=True),
            state["routing.routing_network.0.weight"],
            state["routing.routing_network.0.bias"],
        )
    )
    last = (state["routing.routing_network.2.weight"], state["routing.routing_network.2.bias"])
    probs = functional.conv2d(hidden, *last).flatten().softmax(0)
    chosen = probs.argsort(descending=True)[:top_k].tolist()
    total = torch.zeros_like(x)
    for index in chosen:
        name = f"experts.{index}.conv"
        depthwise = state[f"{name}.depthwise.weight"]
        spread = functional.conv2d(x, depthwise, padding=depthwise.shape[-1] // 2, groups=CHANNELS)
        mixed = norm(functional.conv2d(spread, state[f"{name}.pointwise.weight"]), state, f"{name}.bn")
        total += probs[index] / probs[chosen].sum() * functional.silu(mixed)
    return functional.silu(norm(total, state, "norm.0"))


def spatial_moe(x: Tensor, state: State, experts: int, top_k: int) -> Tensor:
    """One image: scores of a shrunken map averaged, the K best experts, and the shared one beside them."""
    small = functional.avg_pool2d(x, 4, 4)
    hidden = functional.conv2d(small, state["routing.router.0.weight"], padding=1)
    hidden = functional.silu(norm(hidden, state, "routing.router.1"))
    scores = norm(functional.conv2d(hidden, state["routing.router.3.weight"]), state, "routing.router.4")
    probs = scores.mean((2, 3)).flatten().softmax(0)
    chosen = probs.argsort(descending=True)[:top_k].tolist()
    shared = functional.conv2d(x, state["shared_expert.0.weight"])
    total = functional.silu(norm(shared, state, "shared_expert.1"))
    for index in chosen:
        name = f"experts.{index}.conv"
        wide = functional.silu(norm(functional.conv2d(x, state[f"{name}.0.weight"]), state, f"{name}.1"))
        answer = norm(functional.conv2d(wide, state[f"{name}.3.weight"]), state, f"{name}.4")
        total = total + probs[index] / (probs[chosen].sum() + V01_EPSILON) * answer
    return total


@pytest.mark.parametrize(
    ("how", "reference", "variant", "experts", "top_k"),
    [
        pytest.param(RELEASED, es_moe, "esmoe-n", 3, 3, id="EsMoE, all three run"),
        pytest.param(TOP_TWO, es_moe, "esmoe-n", 4, 2, id="EsMoE, two of four"),
        pytest.param(SPATIAL, spatial_moe, "modular-n", 4, 2, id="v0.1"),
    ],
)
def test_a_converted_mixture_computes_the_published_formula(
    how: Mixture, reference: Callable[..., Tensor], variant: str, experts: int, top_k: int, tmp_path: Path
) -> None:
    torch.manual_seed(3)
    config = model_config(variant, ("a",), (64, 64)).mixtures["backbone.p3"]
    with foreign_classes() as make:
        build = Shells(make).es_moe if reference is es_moe else Shells(make).spatial_moe
        module = build(CHANNELS, experts, how)
        layer, state = converted(
            tmp_path / "layer.pt",
            module,
            config,
        )
    assert (layer.config.num_experts, layer.config.top_k) == (experts, top_k)
    epsilon = V01_EPSILON if reference is spatial_moe else 0.0
    # Noise around a level of each channel that differs from image to image: they go to different experts.
    images = torch.randn(8, CHANNELS, 9, 12) + 3 * torch.randn(8, CHANNELS, 1, 1)
    with torch.no_grad():
        for dispatch in ("dense", "grouped"):
            answers, routing = layer(images, RoutingControls(top_k), dispatch)
            for image, answer in zip(images, answers, strict=True):
                wanted = reference(image[None], state, experts, top_k)[0]
                assert (answer - wanted).abs().max() <= 1e-5
            # Too small to be seen in the answers, but the weights miss it in their sum: S / (S + epsilon).
            kept = (routing.probs * (routing.gate > 0)).double().sum(1)
            missing = 1 - routing.gate.double().sum(1)
            assert (missing - epsilon / (kept + epsilon)).abs().max() <= 2e-7
    if top_k < experts:
        assert len({tuple(gate.nonzero().flatten().tolist()) for gate in routing.gate}) > 1
