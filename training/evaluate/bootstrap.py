"""Test whether one detector is better than another on the same images: the paired bootstrap.

Each bootstrap sample draws images with replacement. The COCO API then computes the mAP of both detectors on
these images.

Source: Efron and Tibshirani 1993, An Introduction to the Bootstrap, chapter 13 (percentile intervals).
"""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from training.data.evaluation import Truth
from training.errors import DatasetError
from training.evaluate.detections import Detections
from training.evaluate.mean_ap import coco_evaluation
from training.evaluate.objects.boxes import BOXES
from training.evaluate.objects.kind import ObjectKind
from training.progress import bar

CONFIDENCE = 0.95


class Difference(NamedTuple):
    """The mAP50-95 of two detectors, 0..1, and their difference with its confidence interval."""

    first: float
    second: float
    difference: float  # first minus second
    low: float  # lower end of the interval
    high: float
    share_better: float  # share of bootstrap samples in which the first is better
    draws: int  # number of bootstrap samples


def paired_bootstrap(
    truths: Sequence[Truth],
    first: Sequence[Detections],
    second: Sequence[Detections],
    kind: ObjectKind = BOXES,
    *,
    draws: int = 1000,
    seed: int = 0,
) -> Difference:
    """Compare the mAP of two detectors on the same images.

    The lists of labels and of both detectors' detections are in the order of the images.

    Args:
        kind: what is compared with the labels: boxes, masks, keypoints or corners.
        draws: number of bootstrap samples.

    Raises:
        DatasetError: the images hold no object, or there are fewer than two images.
    """
    if len(truths) < 2:
        raise DatasetError("a single image cannot be drawn from: comparing needs at least two")
    scores = [ResampledMap(truths, found, kind) for found in (first, second)]
    differences = draw_leads([(scores[0], scores[1])], len(truths), draws=draws, seed=seed)
    low, high = percentiles(differences)
    whole = [each.of(np.arange(len(truths))) for each in scores]
    better = float((differences > 0).mean())
    return Difference(whole[0], whole[1], whole[0] - whole[1], low, high, better, draws)


class ResampledMap:
    """A detector's matches on N images. Its mAP can be computed on any N images drawn with replacement."""

    def __init__(
        self, truths: Sequence[Truth], detections: Sequence[Detections], kind: ObjectKind = BOXES
    ) -> None:
        # The COCO API matches each image once, and sums up the matches of each bootstrap sample. Object sizes
        # and detection limits that mAP does not need are left out.
        self._evaluation = coco_evaluation(truths, detections, kind, separate_eval=True)
        params = self._evaluation.params
        params.areaRng, params.areaRngLbl = params.areaRng[:1], params.areaRngLbl[:1]
        params.maxDets = params.maxDets[-1:]
        self._evaluation.evaluate()
        matched = np.array(self._evaluation._evalImgs_cpp, dtype=object)
        self._matched = matched.reshape(-1, len(truths))  # (classes, images)

    def of(self, images: NDArray[np.int64]) -> float:
        """Return the mAP50-95, 0..1, on the N images with these indices; 0 if the images contain no object.

        The same image may occur several times.
        """
        self._evaluation._evalImgs_cpp = self._matched[:, images].ravel().tolist()
        self._evaluation.accumulate()
        precision = self._evaluation.eval["precision"]
        defined = precision[precision >= 0]  # -1: the sample has no object of this class
        return float(defined.mean()) if defined.size else 0.0


def draw_leads(
    pairs: Sequence[tuple[ResampledMap, ResampledMap]], images: int, *, draws: int, seed: int = 0
) -> NDArray[np.float64]:
    """Return the mean lead of the first of each pair, for each bootstrap sample of the images, (draws,).

    In a bootstrap sample, all detectors of all pairs are scored on the same images, by their mAP50-95, 0..1.
    """
    rng = np.random.default_rng(seed)
    leads = np.empty(draws)
    with bar(draws, "draw", "bootstrap") as progress:
        for draw in range(draws):
            drawn = np.sort(rng.integers(images, size=images))
            leads[draw] = np.mean([first.of(drawn) - second.of(drawn) for first, second in pairs])
            progress.update()
    return leads


def percentiles(leads: NDArray[np.float64]) -> tuple[float, float]:
    """Return the ends of the percentile interval at the level CONFIDENCE."""
    tail = (1 - CONFIDENCE) / 2
    low, high = np.quantile(leads, [tail, 1 - tail]).tolist()
    return low, high
