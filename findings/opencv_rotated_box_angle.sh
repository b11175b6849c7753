#!/usr/bin/env bash
# opencv-python-headless 4.12.0.88, 4.14.0.94 and 5.0.0.93: cv2.minAreaRect describes one and the same rectangle by
# another angle, and by another width and height, depending on the version.
#
# Oriented boxes are often stored as the centre, size and angle that minAreaRect returns. One would expect that minor
# versions of OpenCV agree on these numbers. But the angle is in (0, 90] in 4.12, and in [-90, 0) in 4.14 and 5.0, and
# width and height change places with it. Labels or models that hold the numbers of one version are therefore turned
# by 90° if code of the other version's convention reads them. The corners that cv2.boxPoints computes from the numbers
# of its own version are the same in all versions, apart from the corner that comes first. So store corners.
#
# The script fits a rectangle of 60×20 pixels at four angles. It printed:
#   4.12.0: 20x60 at 90, 60x20 at 30, 60x20 at 90, 20x60 at 30
#   4.14.0: 20x60 at -90, 20x60 at -60, 60x20 at -90, 60x20 at -60
#   5.0.0: 20x60 at -90, 20x60 at -60, 60x20 at -90, 60x20 at -60
# It fails if one of these lines changes, or if the corners differ between the versions.
set -euo pipefail
folder="$(mktemp -d)"
trap 'rm -rf "$folder"' EXIT
cat >"$folder/look.py" <<'PYTHON'
import json

import cv2
import numpy as np

found, corners = [], []
for degrees in (0, 30, 90, 120):
    turn = np.radians(degrees)
    along, across = np.array([np.cos(turn), np.sin(turn)]), np.array([-np.sin(turn), np.cos(turn)])
    points = [100 + u * 30 * along + v * 10 * across for u, v in ((-1, -1), (1, -1), (1, 1), (-1, 1))]
    box = cv2.minAreaRect(np.float32(points))
    (width, height), angle = box[1:]
    found.append(f"{width:.0f}x{height:.0f} at {angle:.0f}")
    corners.append(sorted(np.round(cv2.boxPoints(box)).astype(int).tolist()))
print(f"{cv2.__version__}: {', '.join(found)}")
print(json.dumps(corners))
PYTHON
for version in 4.12.0.88 4.14.0.94 5.0.0.93; do
    python3 -m venv "$folder/$version"
    "$folder/$version/bin/pip" install --quiet --disable-pip-version-check \
        "opencv-python-headless==$version" numpy==2.2.6
    "$folder/$version/bin/python" "$folder/look.py" >"$folder/$version.txt"
    head -1 "$folder/$version.txt"
done
cat >"$folder/expected" <<'TEXT'
4.12.0: 20x60 at 90, 60x20 at 30, 60x20 at 90, 20x60 at 30
4.14.0: 20x60 at -90, 20x60 at -60, 60x20 at -90, 60x20 at -60
5.0.0: 20x60 at -90, 20x60 at -60, 60x20 at -90, 60x20 at -60
TEXT
diff "$folder/expected" <(head -qn1 "$folder"/{4.12.0.88,4.14.0.94,5.0.0.93}.txt)
diff <(tail -n1 "$folder/4.12.0.88.txt") <(tail -n1 "$folder/4.14.0.94.txt")
diff <(tail -n1 "$folder/4.12.0.88.txt") <(tail -n1 "$folder/5.0.0.93.txt")
