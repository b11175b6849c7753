#!/usr/bin/env bash
# label-studio-sdk 2.1.2, pycocotools 2.0.11, faster-coco-eval 1.8.0: no detector can find the first object of a COCO
# file that Label Studio's converter wrote.
#
# The converter counts the annotations from 0. COCO's format only asks for different ids. But the evaluation of the COCO
# API notes for each detection the id of the matched object, and 0 means that there is none. So it counts a perfect
# detection of object 0 as a false one, and the object as missed. One would expect a precision of 1 for perfect
# detections. pycocotools says nothing; faster-coco-eval gives the same values, and a warning.
#
# The script exports two rectangles, and evaluates two detections that are equal to them. It printed:
#   annotation ids 0 and 1: AP 0.252, AR 0.500 by pycocotools; AP 0.252, AR 0.500 by faster-coco-eval
#   annotation ids 1 and 2: AP 1.000, AR 1.000 by pycocotools; AP 1.000, AR 1.000 by faster-coco-eval
# It fails if the converter counts from 1, or if an evaluation finds the object with id 0.
set -euo pipefail
folder="$(mktemp -d)"
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install --quiet --disable-pip-version-check \
  label-studio-sdk==2.1.2 pycocotools==2.0.11 faster-coco-eval==1.8.0
cat >"$folder/look.py" <<'PYTHON'
import contextlib
import io
import json
import sys
import warnings
from importlib.metadata import version
from pathlib import Path

import faster_coco_eval
import pycocotools.coco
import pycocotools.cocoeval
from label_studio_sdk.converter import Converter
from PIL import Image

LABELS = """
<View>
  <Image name="image" value="$image"/>
  <RectangleLabels name="label" toName="image"><Label value="car"/></RectangleLabels>
</View>
"""
EVALUATIONS = {
    "pycocotools": (pycocotools.coco.COCO, pycocotools.cocoeval.COCOeval),
    "faster-coco-eval": (faster_coco_eval.COCO, faster_coco_eval.COCOeval_faster),
}


def rectangle(name, x):
    """Return a rectangle of 40×40 pixels in an image of 200×200 pixels, in per cent as Label Studio stores it."""
    value = {"x": x / 2, "y": 5, "width": 20, "height": 20, "rotation": 0, "rectanglelabels": ["car"]}
    return {
        "id": name,
        "type": "rectanglelabels",
        "from_name": "label",
        "to_name": "image",
        "original_width": 200,
        "original_height": 200,
        "image_rotation": 0,
        "value": value,
    }


def export(folder):
    """Return the COCO file that the converter writes for two rectangles in one image."""
    image = folder / "street.png"
    Image.new("RGB", (200, 200)).save(image)
    results = [rectangle("r1", 10), rectangle("r2", 100)]
    tasks = folder / "tasks.json"
    tasks.write_text(
        json.dumps([{"id": 1, "data": {"image": str(image)}, "annotations": [{"id": 1, "result": results}]}])
    )
    converter = Converter(LABELS, str(folder), download_resources=False)
    converter.convert(str(tasks), str(folder / "coco"), "COCO", is_dir=False)
    return folder / "coco" / "result.json"


def evaluate(truth_path, by):
    """Return AP and AR of detections that are equal to the objects of a COCO file."""
    coco, evaluation = EVALUATIONS[by]
    with contextlib.redirect_stdout(io.StringIO()), warnings.catch_warnings():
        warnings.simplefilter("ignore")
        truth = coco(str(truth_path))
        objects = truth.dataset["annotations"]
        kept = ("image_id", "category_id", "bbox")
        detections = [{"score": 0.9, **{name: each[name] for name in kept}} for each in objects]
        run = evaluation(truth, truth.loadRes(detections), "bbox")
        run.evaluate()
        run.accumulate()
        run.summarize()
    return float(run.stats[0]), float(run.stats[8])


folder = Path(sys.argv[1])
exported = export(folder)
document = json.loads(exported.read_text())
ids = [each["id"] for each in document["annotations"]]
for each in document["annotations"]:
    each["id"] += 1
renumbered = folder / "renumbered.json"
renumbered.write_text(json.dumps(document))
found = {}
print(", ".join(f"{name} {version(name)}" for name in ("label-studio-sdk", *EVALUATIONS)))
for name, path in ((f"{ids[0]} and {ids[1]}", exported), (f"{ids[0] + 1} and {ids[1] + 1}", renumbered)):
    values = {by: evaluate(path, by) for by in EVALUATIONS}
    print(f"annotation ids {name}: " + "; ".join(f"AP {p:.3f}, AR {r:.3f} by {by}" for by, (p, r) in values.items()))
    found[name] = [round(value, 3) for pair in values.values() for value in pair]
assert found == {"0 and 1": [0.252, 0.5, 0.252, 0.5], "1 and 2": [1.0, 1.0, 1.0, 1.0]}, found
PYTHON
"$folder/venv/bin/python" "$folder/look.py" "$folder"
