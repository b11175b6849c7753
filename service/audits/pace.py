"""Keep the time that audits take within their share of the time that answers take."""

from service.types import Timings

_NEWEST = 0.1  # weight of the newest duration in a mean


class Pace:
    """The mean times of an answer and of an audit of one model."""

    def __init__(self) -> None:
        """Begin without times."""
        self._answer_s = self._audit_s = 0.0

    def answered(self, timings: Timings) -> None:
        """Record the time of an answer, without its wait."""
        graph_s = (timings.router_s or 0.0) + timings.infer_s
        work_s = timings.decode_s + timings.preprocess_s + graph_s + timings.postprocess_s
        self._answer_s = _mean(self._answer_s, work_s)

    def audited(self, duration_s: float) -> None:
        """Record the time of an audit."""
        self._audit_s = _mean(self._audit_s, duration_s)

    def chance(self, share: float) -> float:
        """Return the probability with which an image is audited.

        If an audit takes longer than an answer, the probability is less than `share`. So audits take at most
        `share` of the time of the answers. With a share of 1, the probability is 1, however long audits take.
        """
        if share >= 1 or self._audit_s <= self._answer_s or self._answer_s <= 0:
            return share
        return share * self._answer_s / self._audit_s


def _mean(mean_s: float, newest_s: float) -> float:
    return newest_s if mean_s <= 0 else mean_s + _NEWEST * (newest_s - mean_s)
