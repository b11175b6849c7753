#!/usr/bin/env bash
# datumaro 1.13.12: the COCO export marks every object that it writes with a run-length mask as a crowd. The evaluation
# of the COCO API ignores crowds, so an evaluation with this file counts none of these objects.
#
# In COCO's format, `iscrowd` 1 means a group of objects that are not marked one by one. Objects that are not crowds may
# have run-length masks too: the COCO API reads them, and evaluates them. One would expect that the export option
# `segmentation_mode="mask"` ("save masks", says its help) changes how a mask is written, and not what it marks. But
# datumaro derives `iscrowd` from the kind of the mask:
#   - Two objects are read from a COCO file with `iscrowd` 0. If they are exported as masks, both have `iscrowd` 1.
#   - Two objects are made with datumaro's class `Mask`, without attributes. They have `iscrowd` 1 also without the
#     option.
#
# The script evaluates perfect detections with pycocotools 2.0.11. AP is -1 if there is no object to find. It printed:
#   as read: iscrowd [0, 0], AP 1
#   read and exported as masks: iscrowd [1, 1], AP -1
#   made in Python and exported: iscrowd [1, 1], AP -1
# It fails if an exported object is no longer a crowd.
set -euo pipefail
folder="$(mktemp -d)"
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install --quiet --disable-pip-version-check datumaro==1.13.12 pycocotools==2.0.11
cat >"$folder/look.py" <<'PYTHON'
import contextlib
import io
import json
import sys
from importlib.metadata import version
from pathlib import Path

import numpy as np
from datumaro.components.annotation import Mask
from datumaro.components.dataset import Dataset
from datumaro.components.dataset_base import DatasetItem
from datumaro.components.media import Image
from PIL import Image as PillowImage
from pycocotools import mask as run_lengths
from pycocotools.coco import COCO
from pycocotools.cocoeval import COCOeval

SIDE, LEFTS = 100, (10, 60)  # two objects of 20×20 pixels in an image of 100×100 pixels


def pixels(left):
    mask = np.zeros((SIDE, SIDE), np.uint8)
    mask[10:30, left : left + 20] = 1
    return mask


def annotation(number, left):
    encoded = run_lengths.encode(np.asfortranarray(pixels(left)))
    return {
        "id": number,
        "image_id": 1,
        "category_id": 1,
        "bbox": [left, 10, 20, 20],
        "area": 400,
        "iscrowd": 0,
        "segmentation": {"size": encoded["size"], "counts": encoded["counts"].decode()},
    }


def write(folder):
    """Write a COCO dataset whose two objects have run-length masks and are not crowds; return its annotations."""
    (folder / "annotations").mkdir(parents=True)
    (folder / "images" / "default").mkdir(parents=True)
    PillowImage.new("RGB", (SIDE, SIDE)).save(folder / "images" / "default" / "street.jpg")
    document = {
        "info": {},
        "licenses": [],
        "images": [{"id": 1, "file_name": "street.jpg", "width": SIDE, "height": SIDE}],
        "categories": [{"id": 1, "name": "car", "supercategory": ""}],
        "annotations": [annotation(number, left) for number, left in enumerate(LEFTS, start=1)],
    }
    path = folder / "annotations" / "instances_default.json"
    path.write_text(json.dumps(document))
    return path


def evaluate(path):
    """Return each object's `iscrowd`, and AP of one perfect detection for each object."""
    with contextlib.redirect_stdout(io.StringIO()):
        truth = COCO(str(path))
        objects = truth.dataset["annotations"]
        kept = ("image_id", "category_id", "bbox")
        detections = [{"score": 0.9, **{name: each[name] for name in kept}} for each in objects]
        run = COCOeval(truth, truth.loadRes(detections), "bbox")
        run.evaluate()
        run.accumulate()
        run.summarize()
    return [each["iscrowd"] for each in objects], round(float(run.stats[0]), 3)


def export(dataset, folder, **options):
    dataset.export(str(folder), "coco_instances", **options)
    return folder / "annotations" / "instances_default.json"


folder = Path(sys.argv[1])
written = write(folder / "written")
read = Dataset.import_from(str(folder / "written"), "coco_instances")
image = Image.from_numpy(data=np.zeros((SIDE, SIDE, 3), np.uint8))
masks = [Mask(pixels(left), label=0, id=number, group=number) for number, left in enumerate(LEFTS, start=1)]
made = Dataset.from_iterable([DatasetItem("street", media=image, annotations=masks)], categories=["car"])
found = {
    "as read": evaluate(written),
    "read and exported as masks": evaluate(export(read, folder / "masks", segmentation_mode="mask")),
    "made in Python and exported": evaluate(export(made, folder / "made")),
}
print(f"datumaro {version('datumaro')}, pycocotools {version('pycocotools')}")
for name, (crowds, precision) in found.items():
    print(f"{name}: iscrowd {crowds}, AP {precision:g}")
assert list(found.values()) == [([0, 0], 1), ([1, 1], -1), ([1, 1], -1)], found
PYTHON
"$folder/venv/bin/python" "$folder/look.py" "$folder"
