"""The routing losses. Each is a function of one layer's routing of one batch.

All of them are computed from means over the images of the batch. If several processes share a batch, the
argument `mean` is a function that averages over the images of all processes.
"""

import math
from collections.abc import Callable, Mapping
from functools import partial

import torch
from torch import Tensor

from training.config import LossConfig
from training.models.mixture.path import choose_path
from training.models.mixture.routing import Routing

# B batch · E experts · K experts chosen per image; every term is a unitless scalar

TINY = 1e-12

Mean = Callable[[Tensor], Tensor]  # (B, ...) to (...)


def over_images(values: Tensor) -> Tensor:
    """Return the mean over the first axis, which holds this process's images.

    This is the mean over the whole batch only if this process has all images of the batch.
    """
    return values.mean(dim=0)


def balance_loss(routing: Routing, mean: Mean = over_images) -> Tensor:
    """Return the mean over experts of (an expert's mean weight over the batch - 1 / E)².

    The loss is zero if all experts have the same mean weight, and (1 / E) (1 - 1 / E) if one expert has all
    the weight. The weights are taken after top-K, so an expert that no image chose gets no gradient.

    Source: arXiv:2512.23273, eq. 12 and 13.
    """
    mean_weight = mean(routing.gate)  # (E,)
    return (mean_weight - 1 / mean_weight.shape[0]).square().mean()


def load_loss(routing: Routing, mean: Mean = over_images) -> Tensor:
    """Return E × the sum over experts of (mean probability × share of the batch's choices).

    The loss is 1 if all experts have equal probabilities, or if all have equal shares. It is E / K if every
    image gives all probability to the same K experts, and 0 if no expert was chosen. Shares have no gradient.
    The probabilities are taken before top-K, so an expert that is never chosen still gets a gradient.

    Source: Fedus et al. 2021, arXiv:2101.03961, eq. 4 to 6. Shares are of B·K choices here, and of B there.
    """
    chosen = mean((routing.gate > 0).float())  # (E,)
    share = chosen / chosen.sum().clamp(min=TINY)
    return len(share) * (share * mean(routing.probs)).sum()


def z_loss(routing: Routing, mean: Mean = over_images) -> Tensor:
    """Return the batch mean of (ln of the softmax's denominator)², which keeps logits small.

    The loss is (ln E)² if all logits are 0, and grows as the square of large logits.

    Source: arXiv:2202.08906, eq. 5.
    """
    return mean(routing.logits.logsumexp(dim=-1).square())


def diversity_loss(routing: Routing, mean: Mean = over_images) -> Tensor:
    """Return ln E - mean entropy of the images' probabilities + variation of the experts' mean probabilities.

    The entropy is in nats; this part of the loss makes each image use several experts. The variation is the
    standard deviation over experts divided by the mean; this part makes the batch use all experts equally.
    The loss is zero if every image uses all experts equally. It is ln E + √(E - 1) if one expert has all
    probability.

    Source: an unpublished summary of a mixture detection head, which names both parts without formulas.
    """
    experts = routing.probs.shape[-1]
    log_probs = routing.logits.log_softmax(dim=-1)  # (B, E)
    entropy = mean(-(log_probs.exp() * log_probs).sum(dim=-1))
    # This is computed as a norm, because a square root has no gradient where all probabilities are equal.
    distance = torch.linalg.vector_norm(mean(routing.probs) - 1 / experts)
    return (math.log(experts) - entropy) + math.sqrt(experts) * distance


def information_loss(routing: Routing, bits: float, mean: Mean = over_images) -> Tensor:
    """Return by how many bits the routing's information about the images is below `bits`; 0 if it is not.

    The information is H(mean p) - mean H(p). Here, p are the probabilities before top-K, and H is the
    entropy. The information is high if each image clearly prefers some experts, and different images prefer
    different experts. This loss does nothing for an expert that no image prefers; coverage_loss raises the
    probabilities of such an expert.

    Source: regularised information maximisation, Krause et al. 2010, eq. 4; we added the limit `bits`.
    """
    information = _entropy(mean(routing.probs)) - mean(_entropy(routing.probs))
    return (bits - information / math.log(2)).clamp(min=0)


def coverage_loss(routing: Routing, mean: Mean = over_images) -> Tensor:
    """Return the divergence KL(equal shares ‖ mean probabilities of the experts in the batch), in nats.

    The loss is zero if all mean probabilities are equal, and grows without limit as one of them nears zero.
    Its gradient is largest for the least used expert. The probabilities are taken before top-K, so experts
    that are never chosen get a gradient too.
    """
    share = mean(routing.probs)  # (E,)
    return -(len(share) * share.clamp(min=TINY)).log().mean()


def _entropy(probs: Tensor) -> Tensor:
    """Return the entropy over the last axis, in nats; a probability of 0 adds nothing."""
    return -(probs * probs.clamp(min=TINY).log()).sum(dim=-1)


def routing_loss(
    routings: Mapping[str, Routing],
    config: LossConfig,
    like: Tensor,
    mean: Mean = over_images,
    path: Routing | None = None,
) -> Tensor:
    """Return the weighted sum of all routing losses; return 0 if the model has no mixture layers.

    Diversity, information and coverage losses are means over layers. The other losses are sums over layers.
    `like` is a tensor on the device for the result. `path` is the choice of a path in a network with paths.
    """
    layers = max(len(routings), 1)
    terms: tuple[tuple[float, Callable[..., Tensor]], ...] = (
        (config.balance, balance_loss),
        (config.load, load_loss),
        (config.z, z_loss),
        (config.diversity / layers, diversity_loss),
        (config.information / layers, partial(information_loss, bits=config.information_bits)),
        (config.coverage / layers, coverage_loss),
    )
    losses = [
        weight * term(routing, mean=mean) for weight, term in terms if weight for routing in routings.values()
    ]
    if path is not None:
        losses += _path_losses(path, config, mean)
    return torch.stack(losses).sum() if losses else like.new_zeros(())


def _path_losses(path: Routing, config: LossConfig, mean: Mean) -> list[Tensor]:
    """Return the weighted losses of the choice of a path.

    Even if all paths have the same mean probability, a path can be the second choice of many images and the
    first choice of none. So the load counts only the path that an image takes in evaluation, also while paths
    are mixed.
    """
    taken = choose_path(path.logits)
    terms: tuple[tuple[float, Callable[..., Tensor]], ...] = (
        (config.path_information, partial(information_loss, bits=config.path_bits)),
        (config.path_coverage, coverage_loss),
        (config.path_load, load_loss),
    )
    return [weight * term(taken, mean=mean) for weight, term in terms if weight]
