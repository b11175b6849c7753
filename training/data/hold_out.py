"""Divides a data set that has no validation split, by a hash of each image file."""

import hashlib
import logging

from training.data.sample import Dataset
from training.data.view import DatasetView
from training.errors import DatasetError
from training.progress import bar

log = logging.getLogger(__name__)


class HoldOut(DatasetView):
    """A view of the images of a data set that are held out for validation, or of all other images.

    Whether an image is held out depends only on the bytes of its file. The decision stays the same when files
    are renamed, moved or added. Either all copies of an image are held out, or none. There is one exception:
    if the decisions would hold out all images or none, the decision for one image and its copies is reversed.
    """

    def __init__(self, dataset: Dataset, share: float, *, held_out: bool) -> None:
        """Hash the file of every image, and log how many images the view shows.

        Args:
            share: share of the images that are held out, above 0 and below 1. The hash of each image
                decides, so the true share differs a little.
            held_out: whether to show the images that are held out; False: show all other images.

        Raises:
            DatasetError: an image file cannot be read, or all image files have the same bytes.
        """
        with bar(len(dataset), "image", "dividing by hash") as progress:
            places = []
            for index in range(len(dataset)):
                digest = hashlib.sha256(dataset.encoded(index)).digest()
                places.append(int.from_bytes(digest[:8], "big") / 2**64)
                progress.update()
        if len(set(places)) < 2:
            what = f"{len(places)} images with the same bytes" if len(places) > 1 else "a single image"
            raise DatasetError(f"{what} cannot be divided; add images or leave --hold-out out")
        # With few images, chance might hold out all or none, so the limit leaves at least one on each side.
        limit = min(max(share, min(places)), max(place for place in places if place < max(places)))
        indices = [index for index, place in enumerate(places) if (place <= limit) == held_out]
        super().__init__(dataset, indices)
        kept = "held out" if held_out else "not held out"
        of = f"{len(indices)} of {len(places)} images, by a hash of each file (share {share:g})"
        log.info(f"{kept}: {of}; other splits are not read")
