"""Counts the labels that a reader cannot use, so that a data set can be used despite a few bad labels."""

from collections import Counter

from training.errors import DatasetError


class LeftOut:
    """Counts, for each reason, the labels that cannot be used, and remembers the first of them."""

    def __init__(self) -> None:
        self._counts: Counter[str] = Counter()
        self._first: dict[str, str] = {}

    def add(self, reason: str, entry: str) -> None:
        """Count a label that cannot be used; `entry` says where it is, for example its file and line."""
        self._counts[reason] += 1
        self._first.setdefault(reason, entry)

    def remark(self, source: object, remarks: Counter[str], kept: int) -> None:
        """Add the counts to remarks.

        Args:
            source: the file or folder of the labels, for the error message.
            kept: how many labels can be used.

        Raises:
            DatasetError: there are labels, and none can be used.
        """
        for reason, first in self._first.items():
            if not kept:
                raise DatasetError(f"{source}: no label can be used; {first}: {reason}")
            remarks[f"entries left out: {reason}, first {first}"] = self._counts[reason]
