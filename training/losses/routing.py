"""The routing losses. Each term is a function of one layer's routing of one batch.

Terms depend on the batch only through means over its images. If several processes share a batch, the given
`mean` averages over the images of all processes, so that each term is that of the whole batch.
"""

import math
from collections.abc import Callable, Mapping
from functools import partial

import torch
from torch import Tensor

from training.config import LossConfig
from training.models.mixture.routing import Routing

# B batch · E experts · K experts chosen per image; every term is a unitless scalar


TINY = 1e-12

Mean = Callable[[Tensor], Tensor]  # (B, ...) to (...)


def over_images(values: Tensor) -> Tensor:
    """Return the mean over the first axis, for a batch that is in one process."""
    return values.mean(dim=0)


def balance_loss(routing: Routing, mean: Mean = over_images) -> Tensor:
    """Return the mean over experts of (an expert's mean weight over the batch - 1 / E)².

    Zero if all experts have the same mean weight; (1 / E) (1 - 1 / E) if one expert has all weight. The
    weights are those after top-K, so an expert that no image chose gets no gradient.

    Source: arXiv:2512.23273, eq. 12 and 13.
    """
    mean_weight = mean(routing.gate)  # (E,)
    return (mean_weight - 1 / mean_weight.shape[0]).square().mean()


def load_loss(routing: Routing, mean: Mean = over_images) -> Tensor:
    """Return E × the sum over experts of (mean probability × share of the batch's choices).

    1 if experts have equal probabilities or equal choices; E / K if every image gives all probability to the
    same K experts; 0 if no expert was chosen at all. Shares are counts and have no gradient. The
    probabilities are those before top-K, so an expert that is never chosen still gets a gradient.

    Source: Fedus et al. 2021, arXiv:2101.03961, eq. 4 to 6, with shares of B·K choices instead of B.
    """
    chosen = mean((routing.gate > 0).float())  # (E,)
    share = chosen / chosen.sum().clamp(min=TINY)
    return len(share) * (share * mean(routing.probs)).sum()


def z_loss(routing: Routing, mean: Mean = over_images) -> Tensor:
    """Return the batch mean of (ln of the softmax's denominator)², which keeps logits small.

    Zero if the exponentials of the logits sum to 1; (ln E)² for logits of 0; quadratic in large logits.

    Source: Zoph et al. 2022, arXiv:2202.08906, eq. 5.
    """
    return mean(routing.logits.logsumexp(dim=-1).square())


def diversity_loss(routing: Routing, mean: Mean = over_images) -> Tensor:
    """Return ln E - the mean entropy of an image, plus the coefficient of variation of mean probabilities.

    The first term, in nats, makes each image use several experts. The second term, the standard deviation ÷
    mean over experts, makes the batch use all experts equally. Zero if every image uses all experts equally;
    ln E + √(E - 1) if one expert has all probability.

    Source: the notes on the mixture detection head, which name both terms but give no formulas.
    """
    experts = routing.probs.shape[-1]
    log_probs = routing.logits.log_softmax(dim=-1)  # (B, E)
    entropy = mean(-(log_probs.exp() * log_probs).sum(dim=-1))
    # Computed as a norm, since a square root has no gradient where all probabilities are equal.
    distance = torch.linalg.vector_norm(mean(routing.probs) - 1 / experts)
    return (math.log(experts) - entropy) + math.sqrt(experts) * distance


def information_loss(routing: Routing, bits: float, mean: Mean = over_images) -> Tensor:
    """Return how many bits the routing's information about the images is below `bits`, at least zero.

    The information is H(mean p) - mean H(p), with the probabilities p before top-K. It is high if each image
    clearly prefers some experts, and different images prefer different experts. This term does not help an
    expert that no image prefers; see coverage_loss.

    Source: regularised information maximisation, Krause et al. 2010, eq. 4, with a limit.
    """
    information = _entropy(mean(routing.probs)) - mean(_entropy(routing.probs))
    return (bits - information / math.log(2)).clamp(min=0)


def coverage_loss(routing: Routing, mean: Mean = over_images) -> Tensor:
    """Return KL(equal shares ‖ the experts' mean probabilities in the batch), in nats.

    Zero if all mean probabilities are equal. It grows without limit as the probability of an expert falls,
    and its gradient is largest for the least used expert. The probabilities are those before top-K, so
    experts that are never chosen get a gradient too.
    """
    share = mean(routing.probs)  # (E,)
    return -(len(share) * share.clamp(min=TINY)).log().mean()


def _entropy(probs: Tensor) -> Tensor:
    """Return the entropy over the last axis, in nats, with 0 log 0 = 0."""
    return -(probs * probs.clamp(min=TINY).log()).sum(dim=-1)


def routing_loss(
    routings: Mapping[str, Routing], config: LossConfig, like: Tensor, mean: Mean = over_images
) -> Tensor:
    """Return the weighted sum of all routing losses.

    Diversity, information and coverage losses are means over layers; the others are sums over layers. The
    result is 0, on the device of `like`, if there is no mixture layer.
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
    return torch.stack(losses).sum() if losses else like.new_zeros(())
