"""deploy/docker/dry_build.py runs the instructions of each image without a container engine."""

import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
pytestmark = [
    pytest.mark.heavy,
    pytest.mark.skipif(sys.platform != "linux", reason="the images are for Linux, and so are their wheels"),
]


@pytest.mark.parametrize("image", ["gateway", "triton", "training"])
def test_an_image_would_build_and_run(image):
    done = subprocess.run(
        [sys.executable, ROOT / "deploy" / "docker" / "dry_build.py", image],
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    assert "not checked: the base image itself" in done.stdout
