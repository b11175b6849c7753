"""Record the audits of one version on one backend: counts, decision and evidence, without any image."""

from collections import Counter, deque
from dataclasses import dataclass
from datetime import UTC, datetime

from service.audits.decision import Trial
from service.audits.limits import Limits
from service.audits.replay import Replayed
from service.audits.scenes import Scenes
from service.audits.verdict import Difference
from service.expert_metrics import AuditOutcome
from service.traffic.routes import ServedVersion

_DISAGREEMENTS, _DIFFERENCES = 20, 10  # kept: the newest disagreements, and the first differences of each


@dataclass(frozen=True)
class Disagreement:
    """An image on which the backend and the reference disagree."""

    request_id: str
    at: datetime
    counted: bool  # False: the image shows a scene that was counted before
    differences: tuple[Difference, ...]


class Record:
    """The audits of one version on one backend."""

    def __init__(self, version: ServedVersion) -> None:
        """Begin without audits."""
        self.manifest = version.manifest
        self.backend = version.backend_name
        self.sha256 = version.sha256
        self.outcomes: Counter[AuditOutcome] = Counter()
        self.limits: Limits | None = None  # None: no answer was compared yet
        self.trial: Trial | None = None
        self.disagreements: deque[Disagreement] = deque(maxlen=_DISAGREEMENTS)
        self.why = ""  # why the latest image was not compared; empty if it was
        self.decided = False  # whether the backend disagrees; it stays so until the record is replaced
        self._scenes = Scenes()

    def begin(self, limits: Limits) -> Limits:
        """Set the limits at the first comparison, and return them."""
        if self.limits is None:
            experts = [
                (layer.layer, expert)
                for layer in self.manifest.mixture
                for expert in range(layer.num_experts)
            ]
            self.limits, self.trial = limits, Trial(limits.rate, experts)
        return self.limits

    def add(self, replayed: Replayed, request_id: str) -> AuditOutcome:
        """Add the result of one audit, and return its outcome."""
        verdict = replayed.verdict
        if verdict is None:
            self.why = "the reference returned a number that is not finite"
            return "failed"
        assert self.trial is not None, "begin() sets it"
        self.why = ""
        counted = self._scenes.is_new(replayed.sketch)
        if counted:
            self.trial.add(not verdict.agrees, replayed.chosen)
        if verdict.agrees:
            return "agrees"
        kept = verdict.differences[:_DIFFERENCES]
        self.disagreements.append(Disagreement(request_id, datetime.now(UTC), counted, kept))
        return "disagrees"

    @property
    def described(self) -> str:
        """Return the counted images as text."""
        assert self.trial is not None, "begin() sets it"
        found = self.trial.all
        return f"{found.disagreeing} of {found.images} audited scenes differ from the reference"
