"""Without memory for its pixels, an image is not decoded, and is not taken for a damaged one."""

import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from tests.builders import image_bytes

ROOT = Path(__file__).parents[4]
HW = (1000, 2000)
WANTED = 8 * 3 * HW[0] * HW[1]  # eight copies of the pixels
SLACK = 24_000_000  # for what Python allocates meanwhile, and for stacks of new threads, 8 MB each

SCRIPT = """
import resource, sys
from pathlib import Path
from service.pipeline.decode import decode
data = Path(sys.argv[1]).read_bytes()
decode(data, 10_000_000)  # whatever is loaded at the first use
used = 1024 * int(Path("/proc/self/status").read_text().split("VmSize:")[1].split()[0])
resource.setrlimit(resource.RLIMIT_AS, (used + int(sys.argv[2]),) * 2)
try:
    print(decode(data, 10_000_000).pixels.shape)
except MemoryError as error:
    print(error)
"""


@pytest.mark.skipif(sys.platform != "linux", reason="only Linux limits the memory of a process")
@pytest.mark.parametrize(
    ("spare_bytes", "told"),
    [(WANTED - SLACK, f"there is no room for {WANTED} bytes"), (WANTED + SLACK, "(1000, 2000, 3)")],
)
def test_an_image_is_decoded_only_with_room_for_its_pixels(tmp_path, spare_bytes, told):
    image = tmp_path / "grey.png"
    image.write_bytes(image_bytes(np.full((*HW, 3), 128, np.uint8)))
    run = [sys.executable, "-c", SCRIPT, str(image), str(spare_bytes)]
    ended = subprocess.run(run, cwd=ROOT, capture_output=True, text=True, timeout=60, check=True)
    assert ended.stdout.strip() == told, ended.stderr
