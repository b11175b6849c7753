"""What the routers are asked for: each term sees one layer's routing of one batch, and nothing else.

A term sees the batch through means over its images. Where a batch is shared by several processes, `mean`
takes them over the images of all, so that the term is that of the whole batch.
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
    """Return the mean over the first axis: of a batch that one process has whole."""
    return values.mean(dim=0)


def balance_loss(routing: Routing, mean: Mean = over_images) -> Tensor:
    """Return the mean over experts of the squared distance of an expert's mean weight from an equal share.

    Zero when the batch shares its weight equally; (1 / E) (1 - 1 / E) when one expert takes all.
    It acts on weights after top-K, so an expert that no image chose gets no gradient from it.

    Source: arXiv:2512.23273, eq. 12 and 13.
    """
    mean_weight = mean(routing.gate)  # (E,)
    return (mean_weight - 1 / mean_weight.shape[0]).square().mean()


def load_loss(routing: Routing, mean: Mean = over_images) -> Tensor:
    """Return E times the sum over experts of mean probability × share of the batch's choices.

    1 when experts share probabilities or choices equally; E / K when every image gives the same K experts all
    of its probability; 0 where no expert was chosen at all. Shares are counts and carry no gradient; the
    probabilities are those before top-K, so an expert that is never chosen is still pulled up.

    Source: Fedus et al. 2021, arXiv:2101.03961, eq. 4 to 6, with shares of B·K choices instead of B.
    """
    chosen = mean((routing.gate > 0).float())  # (E,)
    share = chosen / chosen.sum().clamp(min=TINY)
    return len(share) * (share * mean(routing.probs)).sum()


def z_loss(routing: Routing, mean: Mean = over_images) -> Tensor:
    """Return the batch mean of the squared logarithm of the softmax's denominator: keeps scores small.

    Zero where the exponentials add up to 1; (ln E)² for scores of 0; grows as the square of large scores.

    Source: Zoph et al. 2022, arXiv:2202.08906, eq. 5.
    """
    return mean(routing.logits.logsumexp(dim=-1).square())


def diversity_loss(routing: Routing, mean: Mean = over_images) -> Tensor:
    """Return what an image's entropy lacks of ln E, plus the variation of experts' mean probabilities.

    The first, in nats, asks each image to use several experts; the second, deviation over mean, asks the
    batch to use all alike. Zero when every image uses all equally; ln E + √(E - 1) when one expert takes all.

    Source: the notes on the mixture detection head, which name both parts and give no formula for either.
    """
    experts = routing.probs.shape[-1]
    log_probs = routing.logits.log_softmax(dim=-1)  # (B, E)
    entropy = mean(-(log_probs.exp() * log_probs).sum(dim=-1))
    # A norm, since a square root has no gradient where all are equal.
    distance = torch.linalg.vector_norm(mean(routing.probs) - 1 / experts)
    return (math.log(experts) - entropy) + math.sqrt(experts) * distance


def information_loss(routing: Routing, bits: float, mean: Mean = over_images) -> Tensor:
    """Return what the router's information about the batch lacks of `bits`; zero from there on.

    The information is H(mean p) - mean H(p), of the probabilities before top-K: high where each image has its
    experts, and they are not the same ones. An expert that no image wants it leaves alone: see coverage_loss.

    Source: regularised information maximisation, Krause et al. 2010, eq. 4, with a limit.
    """
    information = _entropy(mean(routing.probs)) - mean(_entropy(routing.probs))
    return (bits - information / math.log(2)).clamp(min=0)


def coverage_loss(routing: Routing, mean: Mean = over_images) -> Tensor:
    """Return the divergence of an equal share for every expert from the batch's mean probabilities, in nats.

    Zero where they are equal; it grows without limit as the share of an expert falls, and pulls hardest at
    the least used. Taken before top-K, so that it reaches experts that are never chosen.
    """
    share = mean(routing.probs)  # (E,)
    return -(len(share) * share.clamp(min=TINY)).log().mean()


def _entropy(probs: Tensor) -> Tensor:
    """Return the entropy over the last axis, in nats; 0 log 0 is 0."""
    return -(probs * probs.clamp(min=TINY).log()).sum(dim=-1)


def routing_loss(
    routings: Mapping[str, Routing], config: LossConfig, like: Tensor, mean: Mean = over_images
) -> Tensor:
    """Weigh the terms; diversity, information and coverage are means over layers, the others sums.

    Zero, on the device of `like`, where there is no mixture.
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
