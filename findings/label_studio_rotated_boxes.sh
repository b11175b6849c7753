#!/usr/bin/env bash
# label-studio-sdk 2.1.2, the converter of Label Studio's exports: a rotated rectangle gets three different places in
# the export formats. COCO, VOC and YOLO files have wrong boxes. Only the oriented boxes of YOLO_OBB are right.
#
# Label Studio stores a rectangle in per cent of the image's width and height, with a rotation about its top left
# corner. One would expect that exports without rotation contain the box around the rotated rectangle. But:
#   - COCO: the converter rotates the per cent values. That is right only if the image is a square. In other images, the
#     box has another shape and place.
#   - VOC and YOLO: the converter leaves out the rotation, and writes the box of the rectangle before it was rotated.
#
# The script exports a rectangle of 40×20 pixels at (200, 50), rotated by 90°, in an image of 400×100 pixels. It
# printed:
#   YOLO_OBB: x 180 to 200, y 50 to 90
#   COCO: x 120 to 200, y 50 to 60
#   VOC: x 200 to 240, y 50 to 70
#   YOLO: x 200 to 240, y 50 to 70
# In an image of 400×400 pixels, COCO has the same box as YOLO_OBB. The script fails if any of these boxes changes.
set -euo pipefail
folder="$(mktemp -d)"
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install --quiet --disable-pip-version-check label-studio-sdk==2.1.2
cat >"$folder/look.py" <<'PYTHON'
import json
import sys
import xml.etree.ElementTree
from importlib.metadata import version
from pathlib import Path

from label_studio_sdk.converter import Converter
from PIL import Image

LABELS = """
<View>
  <Image name="image" value="$image"/>
  <RectangleLabels name="label" toName="image"><Label value="car"/></RectangleLabels>
</View>
"""
WIDTH = 400


def task(image, height):
    """Return a task with one rectangle of 40×20 pixels, rotated by 90° about its top left corner (200, 50)."""
    rectangle = {
        "x": 100 * 200 / WIDTH,
        "y": 100 * 50 / height,
        "width": 100 * 40 / WIDTH,
        "height": 100 * 20 / height,
        "rotation": 90,
        "rectanglelabels": ["car"],
    }
    result = {
        "id": "r1",
        "type": "rectanglelabels",
        "from_name": "label",
        "to_name": "image",
        "original_width": WIDTH,
        "original_height": height,
        "image_rotation": 0,
        "value": rectangle,
    }
    return {"id": 1, "data": {"image": str(image)}, "annotations": [{"id": 1, "result": [result]}]}


def read(exported, kind, height):
    """Return the left, top, right and bottom edges of the exported box in whole pixels."""
    if kind == "COCO":
        x, y, width, height = json.loads((exported / "result.json").read_text())["annotations"][0]["bbox"]
        edges = [x, y, x + width, y + height]
    elif kind == "VOC":
        box = xml.etree.ElementTree.parse(exported / "Annotations" / "street.xml").find("object/bndbox")
        edges = [float(box.find(name).text) for name in ("xmin", "ymin", "xmax", "ymax")]
    else:
        numbers = [float(number) for number in (exported / "labels" / "street.txt").read_text().split()[1:]]
        if kind == "YOLO":
            x, y, w, h = numbers
            numbers = [x - w / 2, y - h / 2, x + w / 2, y + h / 2]
        xs, ys = [x * WIDTH for x in numbers[0::2]], [y * height for y in numbers[1::2]]
        edges = [min(xs), min(ys), max(xs), max(ys)]
    return [round(edge) for edge in edges]


def export(folder, height):
    folder.mkdir()
    image = folder / "street.png"
    Image.new("RGB", (WIDTH, height)).save(image)
    tasks = folder / "tasks.json"
    tasks.write_text(json.dumps([task(image, height)]))
    boxes = {}
    for kind in ("YOLO_OBB", "COCO", "VOC", "YOLO"):
        converter = Converter(LABELS, str(folder), download_resources=False)
        converter.convert(str(tasks), str(folder / kind), kind, is_dir=False)
        boxes[kind] = read(folder / kind, kind, height)
    return boxes


folder = Path(sys.argv[1])
wide, square = export(folder / "wide", 100), export(folder / "square", 400)
print(f"label-studio-sdk {version('label-studio-sdk')}")
for kind, (left, top, right, bottom) in wide.items():
    print(f"{kind}: x {left} to {right}, y {top} to {bottom}")
print(f"in a square image, COCO: {square['COCO']}, YOLO_OBB: {square['YOLO_OBB']}")
unrotated = [200, 50, 240, 70]
assert wide == {
    "YOLO_OBB": [180, 50, 200, 90], "COCO": [120, 50, 200, 60], "VOC": unrotated, "YOLO": unrotated
}, wide
assert square["COCO"] == square["YOLO_OBB"] == [180, 50, 200, 90], square
PYTHON
"$folder/venv/bin/python" "$folder/look.py" "$folder"
