#!/usr/bin/env bash
# faster-coco-eval 1.8.0 beside pycocotools 2.0.11: keypoint labels without "num_keypoints" are evaluated to -1 without
# a word.
#
# "num_keypoints" can be counted from "keypoints", and several tools leave it out. One would expect that an evaluator
# counts it, or that it reports the missing key, as pycocotools does (KeyError). faster-coco-eval, which is offered as
# a replacement, takes a missing count for 0. Objects without keypoints are ignored, so no object is left to find, and
# every figure of AP and AR is -1, the sign for "not defined". The script evaluates one perfect detection. It printed:
#   with num_keypoints: faster-coco-eval 1.0, pycocotools 1.0
#   without num_keypoints: faster-coco-eval -1.0, pycocotools KeyError 'num_keypoints'
# It fails if one of these lines changes.
set -euo pipefail
folder="$(mktemp -d)"
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install --quiet --disable-pip-version-check \
    faster-coco-eval==1.8.0 pycocotools==2.0.11 numpy==2.2.6
cat >"$folder/look.py" <<'PYTHON'
import contextlib
import io

import faster_coco_eval
import numpy as np
import pycocotools.coco
import pycocotools.cocoeval

POINTS = [20, 20, 2, 50, 50, 2]
SIGMAS = np.array([0.05, 0.05])


def average_precision(coco, evaluation, row):
    """Return the AP of one perfect detection of the object that `row` labels."""
    truth = coco()
    category = {"id": 1, "name": "thing", "keypoints": ["head", "tail"], "skeleton": []}
    image = {"id": 1, "height": 100, "width": 100}
    truth.dataset = {"images": [image], "annotations": [row], "categories": [category], "info": {}}
    truth.createIndex()
    found = truth.loadRes([{"image_id": 1, "category_id": 1, "keypoints": POINTS, "score": 0.9}])
    run = evaluation(truth, found, "keypoints")
    run.params.kpt_oks_sigmas = SIGMAS
    run.evaluate()
    run.accumulate()
    run.summarize()
    return round(float(run.stats[0]), 3)


def attempt(coco, evaluation, row):
    with contextlib.redirect_stdout(io.StringIO()):
        try:
            return str(average_precision(coco, evaluation, row))
        except KeyError as error:
            return f"KeyError {error}"


label = {"id": 1, "image_id": 1, "category_id": 1, "bbox": [10, 10, 50, 50], "area": 2500, "iscrowd": 0}
label["keypoints"] = POINTS
for name, row in (("with", {**label, "num_keypoints": 2}), ("without", label)):
    fast = attempt(faster_coco_eval.COCO, faster_coco_eval.COCOeval_faster, dict(row))
    usual = attempt(pycocotools.coco.COCO, pycocotools.cocoeval.COCOeval, dict(row))
    print(f"{name} num_keypoints: faster-coco-eval {fast}, pycocotools {usual}")
PYTHON
"$folder/venv/bin/python" "$folder/look.py" 2>/dev/null | tee "$folder/printed"
diff "$folder/printed" - <<'TEXT'
with num_keypoints: faster-coco-eval 1.0, pycocotools 1.0
without num_keypoints: faster-coco-eval -1.0, pycocotools KeyError 'num_keypoints'
TEXT
