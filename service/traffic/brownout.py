"""Run fewer experts while images wait, within the operator's bounds, before any image is refused."""

from collections.abc import Callable
from dataclasses import replace
from time import perf_counter

from service.artifact.manifest import Manifest
from service.artifact.paths import TOP_K
from service.artifact.tensors import ControlInput
from service.request import DetectParams, Number, ResolvedParams
from service.settings import BrownoutSettings

_TARGET_TURNS = 0.5  # wait to hold, in durations of a turn; at two, images are refused
_GAIN, _GAIN_PER_S = 0.1, 0.3  # proportional and integral; found with the queue in test_brownout.py
_FASTEST_PER_S = 1.0  # largest change of the effort in a second
_LONGEST_GAP_S = 0.5  # without images, time counts as at most so many seconds
_STEPS = 8  # quality is lowered in steps, so that the number of experts does not change with every image
_SLACK = 0.75  # part of a step by which the effort must fall below a step before the step is undone


class Brownout:
    """A controller of how many experts run on one backend. Use it in the event loop only.

    A proportional-integral controller computes the effort, 0 to 1, from the time that images wait for their
    turn. With effort 0, the models' own defaults apply; with effort 1, the operator's bounds apply.
    """

    def __init__(
        self,
        settings: BrownoutSettings,
        on_step: Callable[[float, float], None] = lambda effort, lowered_s: None,
        clock: Callable[[], float] = perf_counter,
    ) -> None:
        """Begin with full quality.

        Args:
            settings: the bounds; without bounds, quality is never lowered.
            on_step: called after each image's wait with two numbers: the current effort, and the seconds
                since the last call if quality was lowered during them. If quality was not lowered, the second
                number is 0.
            clock: returns the time in seconds.
        """
        self._settings = settings
        self._on_step = on_step
        self._clock = clock
        self._last = clock()
        self._effort = self._integral = 0.0
        self._step = 0

    @property
    def effort(self) -> float:
        """Return the current effort: 0, 1/8, 2/8, … 1."""
        return self._step / _STEPS

    def waited(self, wait_s: float, turn_s: float) -> None:
        """Update the effort with the wait of an image whose turn has come.

        Args:
            wait_s: seconds that the image waited.
            turn_s: mean duration of a turn in seconds.
        """
        if not self._settings.lowers or turn_s <= 0:
            return
        now = self._clock()
        passed_s, self._last = min(now - self._last, _LONGEST_GAP_S), now
        error = max(-1.0, min(wait_s / (_TARGET_TURNS * turn_s) - 1, 1.5))
        self._integral = min(1.0, max(0.0, self._integral + _GAIN_PER_S * error * passed_s))
        wanted = min(1.0, max(0.0, self._integral + _GAIN * error))
        change = _FASTEST_PER_S * passed_s
        self._effort = min(self._effort + change, max(self._effort - change, wanted))
        lowered_s = passed_s if self._step else 0.0
        position = self._effort * _STEPS
        if position >= self._step + 1:
            self._step = int(position)
        elif position < self._step - _SLACK:
            self._step = max(0, int(position + _SLACK))
        self._on_step(self.effort, lowered_s)

    def lower(
        self, resolved: ResolvedParams, params: DetectParams, manifest: Manifest
    ) -> tuple[ResolvedParams, bool]:
        """Return the parameters with the controls for the current effort, and whether they are lowered.

        Controls that the request itself sets stay unchanged. With quality=high, all controls stay unchanged.
        If the model computes all experts anyway, its controls are never lowered.

        Args:
            resolved: parameters with the model's defaults.
            params: the same parameters as the request gave them.
            manifest: manifest of the version that runs.
        """
        if not self._step or params.quality == "high" or not manifest.skips_experts:
            return resolved, False
        controls = dict(resolved.controls)
        for row in manifest.controls:
            if row.name not in params.controls:
                controls[row.name] = self._lowered(row)
        return replace(resolved, controls=controls), controls != resolved.controls

    def cheaper(self, params: DetectParams, manifest: Manifest) -> tuple[int, ...]:
        """Return the lower values of top_k for an image that would take too long at its own, highest first.

        Return none if the settings have no bound for top_k, if the request names a top_k, with quality=high,
        or if the model computes all experts anyway.
        """
        least = self._settings.min_top_k
        if (
            least is None
            or params.quality == "high"
            or not manifest.skips_experts
            or TOP_K in params.controls
        ):
            return ()
        rows = [row for row in manifest.controls if row.name == TOP_K]
        lower = {int(one) for row in rows for one in row.allowed or () if least <= one < row.default}
        return tuple(sorted(lower, reverse=True))

    def _lowered(self, row: ControlInput) -> Number:
        settings, default = self._settings, row.default
        if row.name == "top_k" and settings.min_top_k is not None and row.allowed is not None:
            target = default - self.effort * (default - settings.min_top_k)
            between = [one for one in row.allowed if settings.min_top_k <= one <= default]
            # Round to the nearest step: rounded down, one expert less would be used only at full effort.
            return min(between, key=lambda one: (abs(one - target), one), default=default)
        if row.name == "weight_threshold" and settings.max_weight_threshold is not None:
            highest = min(settings.max_weight_threshold, (row.range or (0.0, 1.0))[1])
            return default + self.effort * max(0.0, highest - default)
        return default
