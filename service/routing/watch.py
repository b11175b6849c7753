"""Decide whether the images that one version answers at one setting are routed as in its baseline."""

from dataclasses import dataclass, field
from math import ceil, inf, log, sqrt

import numpy as np
from numpy.typing import NDArray

from service.routing.reference import Experts, Layers, Reference, RoutedImages, chosen_together
from service.routing.statistics import Cusum, counted, divergence_bits, g_test_p, hotelling_p, normal_sf2
from service.routing.window import DecayingMean, Window
from service.types import DriftTest

SPAN = 500  # images of the sliding window
STEP = 25  # images between two looks
PATH = "path"  # stands for all layers together
_SPANS = (125, 250, SPAN)  # large shifts show in few images, small ones need many
_MEMORY = 2000  # images that the decaying mean remembers
_SLACK = 0.1  # rise of the mean rank that is tolerated, beside the baseline's own uncertainty
_RANK_DEVIATION = 1 / sqrt(12)  # of a uniform variable
# Chance of a false alarm per image, a tenth of the one in a million that is promised. Half of it goes to the
# tests of all contrasts together, a quarter to those of single layers and sets, a quarter to novelty.
RATE = 1e-7
_HOT = 1.5  # times the share of the baseline


@dataclass(frozen=True)
class Alarm:
    """A difference from the baseline that chance does not explain."""

    layer: str  # PATH if only the layers together show it
    test: DriftTest
    pvalue: (
        float  # corrected for the number of tests and looks: chance of such a false alarm in 1/RATE images
    )


@dataclass
class LayerState:
    """How one layer, or the path, compared with the baseline at the last look."""

    drift_bits: float = 0.0
    pvalue: float = 1.0  # corrected
    together: NDArray[np.float64] = field(default_factory=lambda: np.zeros((0, 0)))  # (E, E) share of images
    # that chose both experts; empty for the path
    hot: tuple[int, ...] = ()
    entropy_bits: float = 0.0
    entropy_outside: bool = False

    @property
    def shares(self) -> NDArray[np.float64]:
        """Return the share of images that chose each expert, (E,); empty for the path."""
        return np.diag(self.together)


class Watch:
    """Compares the images of one version at one setting of its controls with the baseline.

    Adding an image is cheap, because its experts are only stored. They are processed together with those of
    other images when somebody asks for a result, or when it is time for a look. The latest images are tested
    every STEP images; see `alarm` for the result.
    """

    def __init__(self, reference: Reference, layers: Layers) -> None:
        """Begin without images."""
        self.reference, self.layers = reference, layers
        names = (*layers.names, PATH)
        self.states = {name: LayerState() for name in names}
        self.alarm: Alarm | None = None  # in force: until SPAN images in a row raise none
        self._waiting: list[Experts] = []  # fewer than STEP
        self._window = Window(SPAN, len(reference.mean), len(layers.names))
        self._decaying = DecayingMean(_MEMORY, len(reference.mean))
        slack = _SLACK + 3 * _RANK_DEVIATION / sqrt(reference.images)
        self._cusum = Cusum(slack, 4 / RATE)
        self._unchosen = [np.zeros(count, dtype=np.int64) for count in layers.experts]
        self._dead_after = [_dead_after(shares, reference.images) for shares in reference.shares]
        self._raised_at = 0
        self.looked_at = 0  # images in the window at the last look

    @property
    def count(self) -> int:
        """Return the number of images."""
        return self._window.count + len(self._waiting)

    @property
    def window(self) -> Window:
        """Return the latest images."""
        self._take_waiting()
        return self._window

    def add(self, experts: Experts) -> bool:
        """Add an image, and look at the latest images every STEP images.

        Args:
            experts: of the image, for each layer in order.

        Returns:
            Whether every router gave numbers, not NaN. If not, an alarm is raised, and the image is left out.
        """
        if not _is_finite(experts):
            self._raise(Alarm(PATH, "nan", 0.0))
            return False
        self._waiting.append(experts)
        if self.count % STEP == 0:
            self._take_waiting()
        return True

    def add_all(self, images: RoutedImages) -> None:
        """Add images whose routing is computed already: at most as many as are left until the next look."""
        self._take_waiting()
        ranks = self.reference.ranks(images.contrasts)
        self._window.add(images, ranks)
        self._decaying.add(images.contrasts)
        self._cusum.add(ranks)
        for unchosen, sets in zip(self._unchosen, images.sets.T, strict=True):
            _count_unchosen(unchosen, sets)
        if self.count % STEP == 0:
            self._look()

    def _take_waiting(self) -> None:
        if self._waiting:
            waiting, self._waiting = self._waiting, []
            self.add_all(self.layers.images(waiting))

    @property
    def dead(self) -> tuple[tuple[int, ...], ...]:
        """Return the dead experts of each layer: not chosen for so long that chance does not explain it."""
        self._take_waiting()
        return tuple(
            tuple(np.flatnonzero(unchosen >= limit).tolist())
            for unchosen, limit in zip(self._unchosen, self._dead_after, strict=True)
        )

    def _look(self) -> None:
        self.looked_at = self._window.filled
        alarms = [*self._look_at_all(), *self._look_at_layers()]
        for name, dead in zip(self.layers.names, self.dead, strict=True):
            if dead:
                alarms.append(Alarm(name, "dead", RATE))
        if alarms:
            # The layer that shows it most clearly; the path only if no single layer shows it.
            self._raise(min(alarms, key=lambda alarm: (alarm.layer == PATH, alarm.pvalue)))
        elif self.alarm is not None and self.count - self._raised_at >= SPAN:
            self.alarm = None

    def _raise(self, alarm: Alarm) -> None:
        self.alarm, self._raised_at = alarm, self.count

    def _look_at_all(self) -> list[Alarm]:
        """Test the contrasts of all layers together, the paths, and novelty."""
        reference, window, alarms = self.reference, self._window, []
        spans = [span for span in _SPANS if span <= window.filled]
        means = [(window.mean_contrasts(span), float(span)) for span in spans if not self.layers.of_paths]
        if means:
            means.append((self._decaying.mean, self._decaying.effective))
        found = [
            hotelling_p(mean - reference.mean, reference.inverse, n, reference.images) for mean, n in means
        ]
        of_means = min(found, default=1.0) / _share(2 * (len(_SPANS) + 1))
        paths = window.paths
        of_paths = g_test_p(paths, reference.paths) / self._share_of_a_layer if spans else 1.0
        state = self.states[PATH]
        state.pvalue = min(1.0, of_means, of_paths)
        state.drift_bits = divergence_bits(paths, reference.paths)
        if of_means < 1:
            alarms.append(Alarm(PATH, "mean", of_means))
        if of_paths < 1:
            alarms.append(Alarm(PATH, "sets", of_paths))
        if self._cusum.exceeded:
            alarms.append(Alarm(PATH, "novelty", self._cusum.chance / (RATE / 4)))
        return alarms

    def _look_at_layers(self) -> list[Alarm]:
        alarms: list[Alarm] = []
        window, reference = self._window, self.reference
        full = window.filled == SPAN
        shift = window.mean_contrasts(window.filled) - reference.mean
        entropies = window.entropy_bits
        for place, (name, part) in enumerate(zip(self.layers.names, self.layers.parts, strict=True)):
            state, sets = self.states[name], window.sets[:, place]
            counts = counted(sets)
            state.together = chosen_together(sets, self.layers.experts[place])
            state.drift_bits = divergence_bits(counts, reference.sets[place])
            state.entropy_bits = float(entropies[place])
            state.pvalue, state.hot, state.entropy_outside = 1.0, (), False
            if not full:
                continue
            inverse = reference.layer_inverses[place]
            of_mean = 1.0
            if not self.layers.of_paths:
                of_mean = hotelling_p(shift[part], inverse, SPAN, reference.images) / self._share_of_a_layer
            of_sets = g_test_p(counts, reference.sets[place]) / self._share_of_a_layer
            state.pvalue = min(1.0, of_mean, of_sets)
            state.hot = self._hot(state.shares, reference.shares[place])
            state.entropy_outside = self._entropy_outside(place, state.entropy_bits)
            if of_mean < 1:
                alarms.append(Alarm(name, "mean", of_mean))
            if of_sets < 1:
                alarms.append(Alarm(name, "sets", of_sets))
        return alarms

    @property
    def _share_of_a_layer(self) -> float:
        """Return the chance of a false alarm that one test of one layer may have at one look."""
        return _share(4 * (2 * len(self.layers.names) + 1))

    def _hot(self, shares: NDArray[np.float64], base: NDArray[np.float64]) -> tuple[int, ...]:
        pooled = (shares * SPAN + base * self.reference.images) / (SPAN + self.reference.images)
        deviation = np.sqrt(pooled * (1 - pooled) * (1 / SPAN + 1 / self.reference.images))
        clear = [
            expert
            for expert in np.flatnonzero((shares > base * _HOT) & (deviation > 0))
            if normal_sf2((shares - base)[expert] / deviation[expert]) < self._share_of_a_layer
        ]
        return tuple(int(expert) for expert in clear)

    def _entropy_outside(self, place: int, bits: float) -> bool:
        mean, variance = self.reference.entropy_bits[place]
        deviation = sqrt(variance * (1 / SPAN + 1 / self.reference.images))
        return bool(deviation > 0 and normal_sf2((bits - mean) / deviation) < self._share_of_a_layer)


def _is_finite(experts: Experts) -> bool:
    """Return whether the probabilities of all routers are finite and not negative."""
    # A sum with NaN is NaN; the smallest of some numbers and NaN may be a number.
    return all(sum(layer.probabilities) < inf and min(layer.probabilities) >= 0 for layer in experts)


def _count_unchosen(unchosen: NDArray[np.int64], sets: NDArray[np.uint64]) -> None:
    """Update, with new sets (N,), for how many images in a row each expert has not been chosen, (E,)."""
    bits = np.uint64(1) << np.arange(len(unchosen), dtype=np.uint64)
    chosen = (sets[::-1, None] & bits) > 0  # (N, E), the latest image first
    unchosen[:] = np.where(chosen.any(axis=0), chosen.argmax(axis=0), unchosen + len(sets))


def _share(tests: int) -> float:
    """Return the p-value below which one of `tests` tests raises an alarm at a look."""
    return RATE * STEP / tests


def _dead_after(shares: NDArray[np.float64], images: int) -> NDArray[np.float64]:
    """Return after how many images without it each expert counts as dead, (E,); infinite if never used.

    The share of the baseline is uncertain; its lower bound, three deviations below it, is used.
    """
    low = shares - 3 * np.sqrt(shares * (1 - shares) / images)
    limits = [ceil(log(RATE) / log(1 - min(share, 0.999))) if share > 0 else np.inf for share in low]
    return np.array(limits)
