"""Finds the classes of a data set by the names in its labels, for formats without a list of classes."""

from collections import Counter
from collections.abc import Iterable

from training.data.labels.remarks import EQUAL_NAMES


class CollectedNames:
    """The classes of a data set, and the class id of each name that its labels use.

    Names that differ only in case and spaces are one class. Its name is the spelling that is used most.
    """

    def __init__(self, used: Iterable[str], given: tuple[str, ...], remarks: Counter[str]) -> None:
        """Collect the classes from the names in the labels of all splits.

        If the user has named the classes, `given` holds these names, and no others become classes.
        """
        spelled = Counter(used)
        often_first = sorted(spelled, key=lambda name: (-spelled[name], name))
        self._spelling: dict[str, str] = {}
        for name in given or often_first:
            self._spelling.setdefault(_folded(name), name)
        self.names = given or tuple(sorted(self._spelling.values()))
        if not given and len(spelled) > len(self.names):
            remarks[EQUAL_NAMES] += len(spelled) - len(self.names)

    def id_of(self, name: str) -> int | None:
        """Return the class id of a name; None if no class has this name."""
        known = name if name in self.names else self._spelling.get(_folded(name))
        return None if known is None else self.names.index(known)


def _folded(name: str) -> str:
    return " ".join(name.split()).casefold()
