#!/usr/bin/env bash
# datumaro 1.13.12: if it reads a COCO file with run-length masks and writes a COCO file again, the objects have other
# areas. Small objects become smaller, holes are filled, and objects of one pixel's width lose their masks.
#
# One would expect that reading a format and writing the same format keeps the masks. But the export replaces each mask
# with `iscrowd` 0 by a polygon. The polygon goes through the centres of the outermost pixels, where COCO's polygons go
# along the edges of the pixels. So the object loses one row and one column. The COCO API sorts objects by `area`: an
# object of 33×32 pixels is medium (over 32² = 1024) in the file that was read, and small in the file that was written.
#
# The script reads and writes five masks. It printed:
#   10×10 square: area 100, then 81
#   33×32 rectangle: area 1056, then 992
#   30×30 ring with a hole of 10×10: area 800, then 841
#   two squares of 10×10 and a column of 1×10: area 210, then 162
#   1×10 column: area 10, then 10, and no mask
# It fails if any of these areas is kept, or if the column keeps its mask.
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
from datumaro.components.dataset import Dataset
from PIL import Image
from pycocotools import mask as run_lengths
from pycocotools.coco import COCO

SIDE = 100


def pixels(*boxes, hole=None):
    """Return a mask of filled boxes (left, top, width, height), with an empty box inside if `hole` is given."""
    mask = np.zeros((SIDE, SIDE), np.uint8)
    for left, top, width, height in boxes:
        mask[top : top + height, left : left + width] = 1
    if hole is not None:
        left, top, width, height = hole
        mask[top : top + height, left : left + width] = 0
    return mask


MASKS = {
    "10×10 square": pixels((20, 20, 10, 10)),
    "33×32 rectangle": pixels((20, 20, 33, 32)),
    "30×30 ring with a hole of 10×10": pixels((20, 20, 30, 30), hole=(30, 30, 10, 10)),
    "two squares of 10×10 and a column of 1×10": pixels((10, 20, 10, 10), (40, 20, 10, 10), (70, 20, 1, 10)),
    "1×10 column": pixels((20, 20, 1, 10)),
}


def annotation(number, mask):
    encoded = run_lengths.encode(np.asfortranarray(mask))
    return {
        "id": number,
        "image_id": 1,
        "category_id": 1,
        "bbox": run_lengths.toBbox(encoded).tolist(),
        "area": int(mask.sum()),
        "iscrowd": 0,
        "segmentation": {"size": encoded["size"], "counts": encoded["counts"].decode()},
    }


folder = Path(sys.argv[1])
(folder / "read" / "annotations").mkdir(parents=True)
(folder / "read" / "images" / "default").mkdir(parents=True)
Image.new("RGB", (SIDE, SIDE)).save(folder / "read" / "images" / "default" / "street.jpg")
document = {
    "info": {},
    "licenses": [],
    "images": [{"id": 1, "file_name": "street.jpg", "width": SIDE, "height": SIDE}],
    "categories": [{"id": 1, "name": "car", "supercategory": ""}],
    "annotations": [annotation(number, mask) for number, mask in enumerate(MASKS.values(), start=1)],
}
name = "instances_default.json"
(folder / "read" / "annotations" / name).write_text(json.dumps(document))
Dataset.import_from(str(folder / "read"), "coco_instances").export(str(folder / "written"), "coco_instances")
with contextlib.redirect_stdout(io.StringIO()):
    before, after = (COCO(str(folder / where / "annotations" / name)) for where in ("read", "written"))
print(f"datumaro {version('datumaro')}, pycocotools {version('pycocotools')}")
areas = []
for number, (name, mask) in enumerate(MASKS.items(), start=1):
    was, now = before.anns[number], after.anns[number]
    assert before.annToMask(was).sum() == was["area"] == mask.sum(), was
    assert now["iscrowd"] == 0, now
    assert now["bbox"] == was["bbox"], now
    lost = "" if now["segmentation"] else ", and no mask"
    if now["segmentation"]:
        assert after.annToMask(now).sum() == now["area"], now
    print(f"{name}: area {was['area']}, then {now['area']:g}{lost}")
    areas.append((now["area"], bool(now["segmentation"])))
assert areas == [(81, True), (992, True), (841, True), (162, True), (10, False)], areas
PYTHON
"$folder/venv/bin/python" "$folder/look.py" "$folder"
