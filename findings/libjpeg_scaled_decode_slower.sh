#!/usr/bin/env bash
# A JPEG that is decoded at 5/8, 6/8 or 7/8 of its size takes longer than the whole image.
#
# libjpeg can decode a JPEG at M/8 of its size for M = 1 … 16, by smaller inverse transforms. One expects that
# fewer pixels take less time. But libjpeg-turbo has vector code only for the transforms of 1/8, 1/4, 1/2 and 8/8.
# All others run scalar code: with it, 5/8 to 7/8 take longer than 8/8, although they make 0.39 to 0.77 of its
# pixels, and 3/8 saves nothing over 1/2.
# Who decodes at "the smallest size that is large enough" therefore does best with 1, 2, 4 and 8 eighths only.
#
# Seen with simplejpeg 1.9.0 (libjpeg-turbo), Python 3.11, on an x86 CPU with AVX2: times as ratios to all pixels,
# middle of 15 interleaved rounds on a busy machine:
#   1/8 0.69, 2/8 0.76, 3/8 0.86, 4/8 0.83, 5/8 1.13, 6/8 1.35, 7/8 1.77, 8/8 1.00
# The script fails if 5/8 to 7/8 become faster than 8/8, or 1/2 does not save a tenth.
set -euo pipefail

folder="$(mktemp -d)"
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/env"
"$folder/env/bin/pip" install --quiet simplejpeg==1.9.0 numpy==2.3.5

"$folder/env/bin/python" - <<'PYTHON'
import statistics
import sys
import time

import numpy as np
import simplejpeg

HEIGHT, WIDTH = 1080, 1920
y, x = np.mgrid[:HEIGHT, :WIDTH]
image = np.stack([127 + 120 * np.sin(x / (7 + c) + y / (11 - c)) for c in range(3)], axis=2).astype(np.uint8)
data = simplejpeg.encode_jpeg(np.ascontiguousarray(image), quality=90)


def decode(eighths):
    height, width = -(-HEIGHT * eighths // 8), -(-WIDTH * eighths // 8)
    started = time.process_time()
    pixels = simplejpeg.decode_jpeg(data, min_height=height, min_width=width, min_factor=1)
    taken = time.process_time() - started
    assert pixels.shape == (height, width, 3), pixels.shape
    return taken


times = {eighths: [] for eighths in range(1, 9)}
for _ in range(15):
    for eighths, taken in times.items():
        taken.append(decode(eighths))
ratios = {
    eighths: statistics.median(own / whole for own, whole in zip(taken, times[8], strict=True))
    for eighths, taken in times.items()
}
print(", ".join(f"{eighths}/8 {ratio:.2f}" for eighths, ratio in ratios.items()))
same = all(ratios[eighths] > 1 for eighths in (5, 6, 7)) and ratios[4] < 0.9
sys.exit(0 if same else "the times are in another order now")
PYTHON
echo "as before: decoding 5/8 to 7/8 of a JPEG takes longer than decoding all of it"
