"""Compare ways to choose the images that are kept, on streams with a planted domain."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np
from numpy.typing import NDArray

from service.novel.folder import Folder
from service.novel.latest import Latest
from service.novel.record import record_of
from tests.novel.answers import Scored

Floats = NDArray[np.float64]

WAYS: Mapping[str, Callable[[Scored, float], float]] = {
    "score": lambda one, chance: one.novelty.score,
    "rarity": lambda one, chance: one.novelty.rarity,
    "rarity × confidence": lambda one, chance: one.novelty.rarity * (one.novelty.confidence or 0.0),
    "low confidence": lambda one, chance: 1 - one.best,
    "random": lambda one, chance: chance,
}
"""Ways to order images: `score` is the gateway's. Low confidence is given the graph's highest confidence,
even where it is below the model's limit, which the gateway does not see."""
FOLDER = "folder"  # the gateway's own folder, which sees the images one after the other


@dataclass(frozen=True)
class Figures:
    """One figure for each stream."""

    precision: Floats  # share of planted images among as many kept ones as there are planted ones
    recall_twice: Floats  # share of the planted images that are kept if twice as many are kept
    average_precision: Floats


@dataclass(frozen=True)
class Interval:
    """The mean of a figure over the streams, and the 2.5 and 97.5 percentiles."""

    mean: float
    low: float
    high: float

    @classmethod
    def of(cls, values: Floats) -> "Interval":
        """Return the mean and the percentiles."""
        low, high = np.percentile(values, (2.5, 97.5))
        return cls(float(values.mean()), float(low), float(high))


def compare(
    clean: Sequence[Scored], planted: Sequence[Scored], share: float, streams: int, seed: int
) -> dict[str, Figures]:
    """Return the figures of each way for streams whose images are drawn with replacement (bootstrap).

    Args:
        clean: ordinary images; each stream has as many.
        planted: images of the domain; their share of a stream is `share`.
        share: of the planted images.
        streams: number of streams.
        seed: of the draws.
    """
    random = np.random.default_rng(seed)
    count = round(len(clean) * share / (1 - share))
    found: dict[str, list[tuple[float, float, float]]] = {way: [] for way in WAYS}
    for _ in range(streams):
        drawn = [clean[i] for i in random.integers(0, len(clean), len(clean))]
        drawn += [planted[i] for i in random.integers(0, len(planted), count)]
        is_planted = np.arange(len(drawn)) >= len(clean)
        chances = random.random(len(drawn))
        for way, of in WAYS.items():
            values = np.array([of(one, chance) for one, chance in zip(drawn, chances, strict=True)])
            # Images that a way cannot tell apart come in random order.
            order = np.lexsort((chances, -values))
            found[way].append(_figures(is_planted[order], count))
    return {way: Figures(*np.array(rows).T) for way, rows in found.items()}


def keep(clean: Sequence[Scored], planted: Sequence[Scored], share: float, streams: int, seed: int) -> Floats:
    """Return, for each stream, the share of planted images in the gateway's folder at the end.

    The folder holds as many images as are planted. No image comes twice in a stream, since the folder keeps
    one of several equal images.
    """
    random = np.random.default_rng(seed)
    count = min(round(len(clean) * share / (1 - share)), len(planted))
    shares = []
    for _ in range(streams):
        picked = random.permutation(len(planted))[:count]
        stream = [(one, False) for one in clean] + [(planted[i], True) for i in picked]
        kept = _kept([stream[i] for i in random.permutation(len(stream))], share, count)
        shares.append(kept / count)
    return np.array(shares)


def _kept(stream: Sequence[tuple[Scored, bool]], share: float, images: int) -> int:
    """Return the number of planted images in the folder after a stream."""
    planted = set()
    with TemporaryDirectory() as path:
        folder, latest = Folder(Path(path), images, 10**9), Latest(share)
        for number, (one, is_planted) in enumerate(stream):
            novelty, sha256 = one.novelty, one.image.version.sha256
            if not latest.add(novelty.score, novelty.rank) or folder.has_like(novelty, sha256):
                continue
            record = record_of(f"{number:016x}", one.image, novelty, 1)
            if folder.keep(record, b"x", novelty) and is_planted:
                planted.add(record.id)
        return sum(record.id in planted for record in folder)


def _figures(is_planted: NDArray[np.bool_], count: int) -> tuple[float, float, float]:
    found = np.cumsum(is_planted)
    precisions = found / np.arange(1, len(found) + 1)
    average = float(precisions[is_planted].mean())
    return float(found[count - 1] / count), float(found[2 * count - 1] / count), average
