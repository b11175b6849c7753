"""Reads the outline of an object in a COCO file, which is polygons or a run-length encoded mask.

Source: the mask format of the COCO API, https://github.com/cocodataset/cocoapi (maskApi.c).
"""

from collections.abc import Iterable, Iterator, Sequence
from math import isfinite
from typing import Any

from faster_coco_eval.core import mask as coco_mask

from training.data.labels.label_file import Box
from training.data.labels.object_shapes import packed_polygons, packed_runs


def box_of_outline(segmentation: Any) -> Box | None:
    """Return the box x1, y1, x2, y2 around a `segmentation`; None if it is empty or malformed."""
    try:
        if isinstance(segmentation, dict):
            counts, (height, width) = segmentation["counts"], segmentation["size"]
            runs = _unpacked(counts) if isinstance(counts, str) else [int(run) for run in counts]
            return _box_of_runs(runs, int(height), int(width))
        numbers = [float(number) for number in _flat(segmentation or ())]
    except (TypeError, ValueError, KeyError, OverflowError, IndexError):
        return None
    if len(numbers) < 4 or len(numbers) % 2 or not all(map(isfinite, numbers)):
        return None
    x, y = numbers[::2], numbers[1::2]
    return min(x), min(y), max(x), max(y)


def packed_outline(segmentation: Any) -> bytes:
    """Return a `segmentation` packed as in object_shapes.py; empty if it has no outline.

    Raises:
        ValueError: the `segmentation` is malformed.
    """
    if not segmentation:
        return b""
    try:
        if isinstance(segmentation, dict):
            counts, (height, width) = segmentation["counts"], map(int, segmentation["size"])
            runs = _unpacked(counts) if isinstance(counts, str) else [int(run) for run in counts]
            if min(height, width, *runs) < 0 or sum(runs) != height * width:
                raise ValueError("runs do not fill the size")
            whole = {"counts": runs, "size": [height, width]}
            return packed_runs(bytes(coco_mask.frPyObjects(whole, height, width)["counts"]), height, width)
        nested = isinstance(segmentation[0], list)
        polygons = [
            [float(number) for number in each] for each in (segmentation if nested else [segmentation])
        ]
    except (TypeError, ValueError, KeyError, OverflowError, IndexError) as error:
        raise ValueError("segmentation is neither polygons nor a whole run-length encoded mask") from error
    if any(len(each) % 2 or not all(map(isfinite, each)) for each in polygons):
        raise ValueError("a polygon of segmentation is not x1, y1, x2, y2, …")
    polygons = [each for each in polygons if len(each) >= 6]
    return packed_polygons(polygons) if polygons else b""


def _flat(nested: Iterable[Any]) -> Iterator[Any]:
    """Yield the numbers of polygons from lists that are nested to any depth."""
    for each in nested:
        if isinstance(each, list):
            yield from _flat(each)
        else:
            yield each


def _unpacked(text: str) -> list[int]:
    """Return the lengths of the runs of a compressed mask.

    A character holds 5 bits of a number. Another bit says whether the number continues in the next
    character. The first three numbers are run lengths. Every later number is the difference between its run
    length and the run length two places earlier.
    """
    runs: list[int] = []
    value, shift = 0, 0
    for character in text:
        bits = ord(character) - 48
        value |= (bits & 0x1F) << shift
        shift += 5
        if bits & 0x20:  # more characters of this number follow
            continue
        if bits & 0x10:
            value -= 1 << shift
        runs.append(value + (runs[-2] if len(runs) > 2 else 0))
        value, shift = 0, 0
    return runs


def _box_of_runs(runs: Sequence[int], height: int, width: int) -> Box | None:
    """Return the box around a mask, given as run lengths; None if the mask is empty or malformed.

    The runs go down the columns. Runs of unset and set pixels alternate; the first run is unset.
    """
    if height <= 0 or min(runs, default=0) < 0:
        return None
    columns: list[int] = []
    rows: list[int] = []
    place = 0
    for number, length in enumerate(runs):
        if number % 2 and length > 0:
            first_column, first_row = divmod(place, height)
            last_column, last_row = divmod(place + length - 1, height)
            columns += first_column, last_column
            rows += (first_row, last_row) if first_column == last_column else (0, height - 1)
        place += length
    if not columns or place != height * width:
        return None
    return min(columns), min(rows), max(columns) + 1, max(rows) + 1
