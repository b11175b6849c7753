"""Divides a data set that has no validation split, by a hash of each image file."""

import hashlib
import logging

from training.data.sample import Dataset
from training.data.view import DatasetView
from training.errors import DatasetError
from training.progress import bar

log = logging.getLogger(__name__)


class HoldOut(DatasetView):
    """A view of the images of a data set that are held out for validation, or of all its other images.

    Whether an image is held out depends only on the bytes of its file: not on the file's name or folder,
    and not on which other images there are. So the decision stays the same when files are renamed, moved
    or added, and two copies of an image are either both held out or both not. There is one exception: if
    the decisions would hold out all images or none, the decision for one image and its copies is reversed.
    """

    def __init__(self, dataset: Dataset, share: float, *, held_out: bool) -> None:
        """Hash every image; log how many are held out.

        Args:
            share: share of the images that are held out, above 0 and below 1. Chance decides about each
                image, so the number differs a little from this share.
            held_out: True: show the images that are held out; False: show all other images.

        Raises:
            DatasetError: an image file cannot be read, or there are not two images with different bytes.
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
