"""Counts of the labels and images that a reader left out or changed, so that users are told of them."""

from collections.abc import Mapping

from training.data_config import LabelKind

Remarks = Mapping[str, int]  # number of labels or images by reason; a reason can also name a file

NO_AREA = "boxes without area, left out"
OUTSIDE = "boxes wholly outside their image, left out"
CLIPPED = "boxes over the edge of their image, clipped"
UNLISTED = "boxes of images that are not listed, left out"
CROWDS = "crowds, ignored"
DIFFICULT = "difficult objects, ignored"
REGIONS = "regions, ignored"
ALIKE = "objects of a class left out that resembles a kept class, ignored"
NO_IMAGE = "images whose file is missing, left out"
NO_LABELS = "images without a label file, left out"
NO_LABELS_KEPT = "images without a label file, kept as empty"
REPEATED = "rows that repeat another of their image, left out"
LISTED_TWICE = "images named twice, counted once"
OTHER_SIZE = "images whose size is not what their labels state; boxes are taken as pixels of the file"
SWAPPED = "boxes that end before they begin, corners exchanged"
EQUAL_NAMES = "classes whose names differ at most in case and spaces, joined"
GROUPS = "categories without boxes that only group others or mean the background, left out"
EXTRA_COLUMN = "rows with a sixth column (a confidence or track), which is not read"
IN_SUBFOLDERS = "images in subfolders, read"
DEEPER = "images in subfolders of a class, left out"
OTHER_SPLITS = "subfolders of other splits, left out"
SHARED = "images that the list of another split names too, kept"
LISTED_ELSEWHERE = "images that a list of another split names, left out"
OUTLINES = "outlines, read as the box around each"
JOINED = "shapes joined with others of their label and group_id"
NO_OBJECTS = "images without objects, kept"
# Objects whose labels lack what was asked for, by kind of labels.
WITHOUT: Mapping[LabelKind, str] = {
    "masks": "objects without an outline, whose mask is the rectangle of their box",
    "keypoints": "objects without keypoints, kept with none labelled",
    "corners": "objects without an oriented box, kept as upright boxes",
}


# Images of which a part was not looked at, by kind of note; counted when an image is read.
PARTS_NOT_READ = {
    "bits-dropped": "images with more than 8 bits per value, read with 8",
    "further-images": "files with further pages or frames, left out",
    "preview-only": "files whose only image is a reduced one, read",
    "damaged": "images damaged inside, read",
    "transparency-dropped": "images with transparent pixels, read as opaque",
}


def describe_remarks(remarks: Remarks) -> str:
    """Return all remarks with counts above 0, such as "crowds, ignored: 3"; "" if all counts are 0."""
    return "; ".join(f"{what}: {count}" for what, count in remarks.items() if count)
