"""Test whether one detector is better than another on the same images: the paired bootstrap.

Each bootstrap sample draws images with replacement, the same ones for both detectors, and both mAPs are
computed from these images.

Source: Efron and Tibshirani 1993, An Introduction to the Bootstrap, chapter 13 (percentile intervals).
"""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from training.data.evaluation import Truth
from training.errors import DatasetError
from training.evaluate.detections import Detections
from training.evaluate.matching import ClassMatches, match_class
from training.progress import bar

# D detections of a class in all images · T thresholds

RECALLS = np.linspace(0.0, 1.0, 101)  # of the COCO API
CONFIDENCE = 0.95


class Difference(NamedTuple):
    """mAP50-95 of two detectors, 0..1, and the first less the second with its confidence interval."""

    first: float
    second: float
    difference: float
    low: float  # ends of the interval
    high: float
    share_better: float  # share of bootstrap samples in which the first is better
    draws: int  # number of bootstrap samples


def paired_bootstrap(
    truths: Sequence[Truth],
    first: Sequence[Detections],
    second: Sequence[Detections],
    *,
    draws: int = 1000,
    seed: int = 0,
) -> Difference:
    """Compare two detectors' answers for the same images, in the same order.

    Args:
        draws: number of bootstrap samples.

    Raises:
        DatasetError: the images hold no object, or there are fewer than two images.
    """
    class_ids = sorted({int(class_id) for truth in truths for class_id in truth.class_ids})
    if not class_ids:
        raise DatasetError("the images hold no object; mAP is not defined")
    if len(truths) < 2:
        raise DatasetError("a single image cannot be drawn from: comparing needs at least two")
    matches = [[match_class(truths, found, class_id) for class_id in class_ids] for found in (first, second)]
    everything = np.ones(len(truths), dtype=np.int64)
    whole = [weighted_map(each, everything) for each in matches]
    rng = np.random.default_rng(seed)
    differences = np.empty(draws)
    with bar(draws, "draw", "bootstrap") as progress:
        for draw in range(draws):
            times = np.bincount(rng.integers(len(truths), size=len(truths)), minlength=len(truths))
            differences[draw] = weighted_map(matches[0], times) - weighted_map(matches[1], times)
            progress.update()
    tail = (1 - CONFIDENCE) / 2
    low, high = np.quantile(differences, [tail, 1 - tail])
    return Difference(
        first=whole[0],
        second=whole[1],
        difference=whole[0] - whole[1],
        low=float(low),
        high=float(high),
        share_better=float((differences > 0).mean()),
        draws=draws,
    )


def weighted_map(classes: Sequence[ClassMatches], times: NDArray[np.int64]) -> float:
    """Return the mAP50-95 of a data set that holds image i times[i] times; 0 if it holds no object."""
    each = [_average_precision(matches, times) for matches in classes if (matches.objects * times).any()]
    return float(np.mean(each)) if each else 0.0


def _average_precision(matches: ClassMatches, times: NDArray[np.int64]) -> float:
    """Return the average precision of a class: the mean over thresholds and the COCO API's 101 recalls."""
    weight = times[matches.images]
    right = np.cumsum(matches.right * weight, axis=1)  # (T, D)
    wrong = np.cumsum(matches.wrong * weight, axis=1)
    recall = right / (matches.objects * times).sum()
    precision = right / np.maximum(right + wrong, 1)
    # At each recall the best precision from there on.
    best = np.maximum.accumulate(precision[:, ::-1], axis=1)[:, ::-1]
    padded = np.concatenate([best, np.zeros((len(best), 1))], axis=1)  # recalls that are never reached
    at = [
        row[np.searchsorted(reached, RECALLS, side="left")]
        for row, reached in zip(padded, recall, strict=True)
    ]
    return float(np.mean(at))
