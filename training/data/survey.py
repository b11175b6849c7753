"""Decodes every image of a data set and measures its objects, to find problems before training."""

import hashlib
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from training.data.augmentation.mosaic import MIN_SIDE_PX
from training.data.evaluation import Truth
from training.data.images.letterbox import Letterbox
from training.data.images.reduced_jpeg import Fit
from training.data.sample import Dataset, no_boxes
from training.errors import DatasetError
from training.progress import bar


class _Image(NamedTuple):
    digest: bytes  # SHA-256 of the file; empty: the image cannot be decoded
    problem: str = ""
    class_ids: NDArray[np.int64] = np.zeros(0, dtype=np.int64)
    sides: NDArray[np.float32] = no_boxes()[:, :2]  # (N, 2) width and height in source pixels
    areas: NDArray[np.float64] = np.zeros(0)  # (N,) source pixels²
    scale: float = 1.0


@dataclass(frozen=True, eq=False)
class Survey:
    """The files, problems and objects that `survey` found in a data set.

    An image that is labelled with a class instead of boxes counts as one object without a size.
    """

    class_names: tuple[str, ...]
    files: Sequence[str]  # name of each image's file
    digests: Sequence[bytes]  # SHA-256 of each image's file; empty: the image cannot be decoded
    problems: Sequence[str]  # why images cannot be decoded; each names its file
    image_ids: NDArray[np.int64]  # (N,) position of each object's image
    class_ids: NDArray[np.int64]  # (N,)
    areas: NDArray[np.float64]  # (N,) source pixels²; NaN: the object is a whole image
    sides_px: NDArray[
        np.float32
    ]  # (N, 2) width and height in pixels of the network input; infinite: as areas

    @property
    def too_small(self) -> NDArray[np.bool_]:
        """Return for each object whether it has a side under MIN_SIDE_PX in the model input, (N,)."""
        return np.any(self.sides_px < MIN_SIDE_PX, axis=1)

    @property
    def whole_images(self) -> bool:
        """Return whether the data set labels each image with a class, instead of objects with boxes."""
        return bool(np.isnan(self.areas).any())

    def classes_without_objects(self) -> list[str]:
        """Return the names of the classes without objects, in the order of their ids."""
        seen = set(self.class_ids.tolist())
        return [name for class_id, name in enumerate(self.class_names) if class_id not in seen]

    def copies(self) -> list[tuple[str, str]]:
        """Return (first file, its copy) for each image file that has the same bytes as an earlier one."""
        first: dict[bytes, str] = {}
        pairs = [(first.setdefault(digest, file), file) for digest, file in self._decoded()]
        return [(one, other) for one, other in pairs if one != other]

    def shared_with(self, other: "Survey") -> list[tuple[str, str]]:
        """Return pairs of files with the same bytes: one file of this data set and one of `other`."""
        theirs = dict(other._decoded())
        return [(file, theirs[digest]) for digest, file in self._decoded() if digest in theirs]

    def _decoded(self) -> list[tuple[bytes, str]]:
        pairs = zip(self.digests, self.files, strict=True)
        return [(digest, file) for digest, file in pairs if digest]


def survey(dataset: Dataset, input_hw: tuple[int, int], what: str) -> Survey:
    """Decode every image of a data set on all cores; `what` is the text beside the progress bar.

    An image that cannot be decoded gets an entry in `problems`.
    """

    def look(index: int) -> _Image:
        try:
            sample = dataset.load(index, Fit(input_hw, "letterbox"))  # no pixel is looked at
            digest = hashlib.sha256(dataset.encoded(index)).digest()
        except DatasetError as error:
            return _Image(b"", str(error))
        scale = Letterbox.fit(sample.source_hw, input_hw).scale
        if sample.image_class is not None:
            sides, areas = np.full((1, 2), np.inf, np.float32), np.full(1, np.nan)
            return _Image(digest, "", sample.labelled_classes, sides, areas, scale)
        sides = sample.boxes_xyxy[:, 2:] - sample.boxes_xyxy[:, :2]
        return _Image(digest, "", sample.class_ids, sides, Truth.of(sample).object_areas, scale)

    images = []
    pool = ThreadPoolExecutor()
    try:
        with bar(len(dataset), "image", what) as progress:
            for each in pool.map(look, range(len(dataset))):
                images.append(each)
                progress.update()
    finally:
        pool.shutdown(cancel_futures=True)  # Ctrl-C does not wait for the remaining images
    none = _Image(b"")  # so that an empty data set can be joined
    counts = [len(each.class_ids) for each in images]
    return Survey(
        class_names=dataset.class_names,
        files=[str(dataset.path(index) or f"image {index}") for index in range(len(dataset))],
        digests=[each.digest for each in images],
        problems=[each.problem for each in images if each.problem],
        image_ids=np.repeat(np.arange(len(images)), counts),
        class_ids=np.concatenate([each.class_ids for each in (none, *images)]),
        areas=np.concatenate([each.areas for each in (none, *images)]),
        sides_px=np.concatenate([each.sides * np.float32(each.scale) for each in (none, *images)]),
    )
