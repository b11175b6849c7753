"""Makes the routing of images for the tests of drift."""

import numpy as np

from service.artifact.routing_file import MeasuredRouting
from service.routing.reference import Layers, Reference
from service.types import ExpertActivation

LAYERS = Layers(["backbone.p4", "neck.p3"], [4, 3])
TOP_K = 2


def probabilities(rng, count, shift=0.0):
    """Return the probabilities of two layers for images of two kinds, as lists of (E,) arrays by image."""
    images = []
    for _ in range(count):
        kind = rng.integers(2)
        logits = [rng.normal([2.0 * kind, 1.0, -kind, 0.5 + shift], 0.5), rng.normal([kind, 0.5, shift], 0.5)]
        images.append([np.exp(each) / np.exp(each).sum() for each in logits])
    return images


def activations(image):
    """Return the expert activations of one image."""
    found = []
    for name, probs in zip(LAYERS.names, image, strict=True):
        active = tuple(sorted(np.argsort(-probs)[:TOP_K].tolist()))
        weights = tuple((probs[list(active)] / probs[list(active)].sum()).tolist())
        bits = float(-(probs * np.log2(probs)).sum())
        found.append(ExpertActivation(name, len(probs), active, weights, tuple(probs.tolist()), bits))
    return tuple(found)


def measured(images, controls=None):
    """Return the routing of images as an artifact's file holds it."""
    log_probs = np.full((len(images), 2, 4), -7.0, dtype=np.float32)
    sets = np.zeros((len(images), 2), dtype=np.uint64)
    for place, image in enumerate(images):
        for row, (probs, layer) in enumerate(zip(image, activations(image), strict=True)):
            log_probs[place, row, : len(probs)] = np.log(probs)
            sets[place, row] = sum(1 << expert for expert in layer.active)
    return MeasuredRouting(controls or {"top_k": TOP_K}, log_probs, sets)


def reference(images):
    """Return the reference of a baseline with these images."""
    return Reference.of(measured(images), LAYERS, (0, 1))
