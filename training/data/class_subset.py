"""A data set reduced to some of its classes."""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from itertools import compress

import numpy as np
from numpy.typing import NDArray

from training.data.augmentation.shapes import Shapes
from training.data.images.reduced_jpeg import Fit
from training.data.labels.remarks import ALIKE
from training.data.labels.rows import ANY_CLASS
from training.data.masks import Mask
from training.data.sample import Dataset, Sample
from training.data.view import DatasetView
from training.errors import DatasetError


class ChosenClasses(DatasetView):
    """A view of a data set that keeps only the objects of some classes.

    Images without objects of these classes stay in the view, as background. In a data set that labels each
    image as a whole with one class, the images of all other classes are left out.
    """

    def __init__(
        self,
        dataset: Dataset,
        class_names: Sequence[str],
        like: Mapping[str, str] | None = None,
        *,
        whole_images: bool = False,
        all_there: bool = True,
    ) -> None:
        """Keep the classes in class_names, and count the objects that become ignored regions.

        Args:
            class_names: the classes to keep, in the order of their new ids.
            like: maps a class that is left out to the kept class that it resembles. Objects of the first
                class become regions that are ignored for the second, so detecting them is no error.
            whole_images: whether the data set labels each image as a whole with one class, for a classifier.
            all_there: whether the data set must have every class in class_names.

        Raises:
            DatasetError: all_there is true, and the data set lacks one of the classes.
        """
        unknown = [name for name in class_names if name not in dataset.class_names]
        if unknown and all_there:
            raise DatasetError(f"no class {', '.join(unknown)} among {', '.join(dataset.class_names)}")
        new_ids = {name: new_id for new_id, name in enumerate(class_names)}
        self._new_ids = np.array([new_ids.get(name, -1) for name in dataset.class_names])  # -1: left out
        indices = None
        if whole_images:
            indices = [i for i in range(len(dataset)) if (self._new_ids[dataset.class_ids(i)] >= 0).all()]
        super().__init__(dataset, indices)
        self.class_names = tuple(class_names)
        # For each class that is left out, the new id of the kept class that it resembles; -1: none.
        like = {name: other for name, other in (like or {}).items() if name not in new_ids}
        self._alike = np.array([new_ids.get(like.get(name, ""), -1) for name in dataset.class_names])
        if self._alike.max() >= 0:
            ids = (dataset.class_ids(index) for index in range(len(dataset)))
            count = sum(int((self._alike[each] >= 0).sum()) for each in ids)
            self.remarks = {**dataset.remarks, ALIKE: count}

    def load(self, index: int, fit: Fit | None = None) -> Sample:
        """Return an image with its objects and regions of the kept classes, under their new ids.

        Regions that are ignored for every class stay. Objects of the classes in `like` become ignored
        regions; these follow the regions that the image already has.
        """
        sample = super().load(index, fit)
        class_ids, alike = self._new_ids[sample.class_ids], self._alike[sample.class_ids]
        kept = class_ids >= 0
        regions = sample.ignored_class_ids
        if regions is None:
            regions = np.full(len(sample.ignored_xyxy), ANY_CLASS)
        new_regions = np.where(regions == ANY_CLASS, ANY_CLASS, self._new_ids[regions])
        meant = (regions == ANY_CLASS) | (new_regions >= 0)
        return replace(
            sample,
            boxes_xyxy=sample.boxes_xyxy[kept],
            class_ids=class_ids[kept],
            areas=None if sample.areas is None else sample.areas[kept],
            image_class=None if sample.image_class is None else int(self._new_ids[sample.image_class]),
            ignored_xyxy=np.concatenate([sample.ignored_xyxy[meant], sample.boxes_xyxy[alike >= 0]]),
            ignored_class_ids=np.concatenate([new_regions[meant], alike[alike >= 0]]),
            ignored_masks=_region_masks(sample, meant, alike >= 0),
            **Shapes.of(sample).kept(kept)._asdict(),
        )

    def class_ids(self, index: int) -> NDArray[np.int64]:
        """Return the new class ids of those objects of an image whose classes are kept."""
        class_ids = self._new_ids[super().class_ids(index)]
        return np.asarray(class_ids[class_ids >= 0])


def _region_masks(
    sample: Sample, regions: NDArray[np.bool_], objects: NDArray[np.bool_]
) -> tuple[Mask, ...] | None:
    """Return the masks of the chosen regions, then of the chosen objects; None if either have no masks."""
    if sample.ignored_masks is None or sample.masks is None:
        return None
    return (*compress(sample.ignored_masks, regions), *compress(sample.masks, objects))


def joined_by_name(dataset: Dataset, class_names: tuple[str, ...]) -> Dataset:
    """Return a data set whose class names and class ids are those of a model; match classes by name.

    Objects of classes that the model lacks are left out and counted in `remarks`. If each image is labelled
    as a whole, the images of these classes are left out instead. A class of the model that the data set
    lacks stays in the list of classes, but has no objects.

    Raises:
        DatasetError: the data set and the model have no class in common, or no image is left.
    """
    if dataset.class_names == class_names:
        return dataset
    others = [name for name in dataset.class_names if name not in class_names]
    if len(others) == len(dataset.class_names):
        raise DatasetError(
            f"the data set labels {', '.join(others)}, but the model knows {', '.join(class_names)}: they "
            "have no class in common; rename the classes of one, or give other data"
        )
    whole = len(dataset) > 0 and dataset.load(0).image_class is not None
    view = ChosenClasses(dataset, class_names, whole_images=whole, all_there=False)
    if len(view) == 0:
        raise DatasetError(f"no image has one of the classes that the model knows: {', '.join(class_names)}")
    if others:
        known = np.array([name in class_names for name in dataset.class_names])
        count = sum(int((~known[dataset.class_ids(index)]).sum()) for index in range(len(dataset)))
        what = "images" if whole else "objects"
        reason = f"{what} of classes that the model does not know, left out ({', '.join(others)})"
        view.remarks = {**view.remarks, reason: count}
    return view


def classes_without_objects(dataset: Dataset) -> list[str]:
    """Return the names of the classes that a data set has no labels of, in the order of their ids."""
    seen = {int(class_id) for index in range(len(dataset)) for class_id in dataset.class_ids(index)}
    return [name for class_id, name in enumerate(dataset.class_names) if class_id not in seen]
