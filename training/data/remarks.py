"""What a reader tells of labels that are not plain boxes, so that nothing is left out in silence."""

from collections import Counter
from collections.abc import Iterable, Mapping

Remarks = Mapping[str, int]  # how many of what; the words say what became of them

NO_AREA = "boxes without area, left out"
OUTSIDE = "boxes wholly outside their picture, left out"
CLIPPED = "boxes over the edge of their picture, clipped"
UNLISTED = "boxes of pictures that are not listed, left out"
CROWDS = "crowds, ignored"
DIFFICULT = "difficult objects, ignored"
REGIONS = "regions, ignored"
ALIKE = "objects like those of a chosen class, ignored"
NO_PICTURE = "pictures whose file is missing, left out"
NO_LABELS = "pictures without a label file, left out"
NO_LABELS_KEPT = "pictures without a label file, kept as empty"
NO_OBJECTS = "pictures without objects, kept"


def add_remarks(parts: Iterable[Remarks]) -> Remarks:
    """The remarks of several data sets as those of one."""
    total: Counter[str] = Counter()
    for part in parts:
        total.update(part)
    return total


def describe_remarks(remarks: Remarks) -> str:
    """One line for people; empty where there is nothing to remark."""
    return "; ".join(f"{what}: {count}" for what, count in remarks.items() if count)
