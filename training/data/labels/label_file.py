"""Reads label files line by line, with errors that name the line, and pairs label files with images."""

from collections import Counter
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from math import isfinite
from pathlib import Path
from typing import TypeVar

from training.data.labels.remarks import NO_IMAGE, NO_LABELS
from training.errors import DatasetError

Parsed = TypeVar("Parsed")
Box = tuple[float, float, float, float]


def parsed_lines(path: Path, parse: Callable[[str], Parsed]) -> Iterator[Parsed]:
    """Yield parse(line) for each line of a file, but skip blank lines.

    Raises:
        DatasetError: the file cannot be read, or `parse` raises ValueError. In the second case, the message
            names the file and the line.
    """
    try:
        with path.open(encoding="utf-8-sig") as lines:
            for number, line in enumerate(lines, start=1):
                if not line.strip():
                    continue
                try:
                    parsed = parse(line)
                except ValueError as error:
                    raise DatasetError(f"{path}:{number}: {error}") from error
                yield parsed
    except UnicodeDecodeError as error:
        raise DatasetError(f"{path}: not UTF-8 text ({error}); save it as UTF-8") from error
    except OSError as error:
        raise DatasetError(f"{path}: cannot be read ({error}); fetch it again") from error


def finite_numbers(texts: Sequence[str]) -> list[float]:
    """Convert texts to numbers; raise ValueError if a text is no number, or is NaN or infinite."""
    values = [float(text) for text in texts]
    if not all(map(isfinite, values)):
        raise ValueError(f"not all of {', '.join(texts)} are finite numbers")
    return values


def box_of_corners(texts: Sequence[str]) -> Box:
    """Return the box x1, y1, x2, y2; raise ValueError if a number is not finite, or if x2 < x1 or y2 < y1."""
    x1, y1, x2, y2 = finite_numbers(texts)
    if x2 < x1 or y2 < y1:
        raise ValueError(f"the box {x1:g}, {y1:g}, {x2:g}, {y2:g} ends before it begins")
    return x1, y1, x2, y2


def pair_up(
    where: str,
    stems: Collection[str],
    images: Mapping[str, Path],
    labels: Mapping[str, Path],
    remarks: Counter[str],
) -> list[tuple[Path, Path]]:
    """Return (image, label file) for each of `stems` that has both files; count missing files in `remarks`.

    Args:
        where: the folder and split, for the error message.
        stems: the file names of the split, without suffix.

    Raises:
        DatasetError: no stem has both files.
    """
    pairs = []
    for stem in stems:
        if stem not in images:
            remarks[NO_IMAGE] += 1
        elif stem not in labels:
            remarks[NO_LABELS] += 1
        else:
            pairs.append((images[stem], labels[stem]))
    if not pairs:
        raise DatasetError(f"{where}: of {len(stems)} images none has both its file and its label file")
    return pairs


def files_by_stem(folder: Path, suffix: str) -> dict[str, Path]:
    """Return the files directly in a folder that have a suffix, in upper or lower case.

    The keys are the file names without suffix, sorted.
    """
    files = sorted(path for path in folder.iterdir() if path.suffix.lower() == suffix)
    return {path.stem: path for path in files}
