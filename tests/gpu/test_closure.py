"""The GPU run imports only packages that the GPU machine has or that are packed."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from tests.gpu.wheels import TRAVELLING

ROOT = Path(__file__).resolve().parents[2]
PARTS = ("smoke", "train", "latency")
THERE = {"torch", "cv2", "numpy", "safetensors"}
IMPORT_AND_TELL = """
import importlib, json, sys
asked = set()
class Watch:  # who imports what, torch's own needs left out: they came with it
    def find_spec(self, name, path=None, target=None):
        frame = sys._getframe(1)
        while frame and frame.f_globals.get("__name__", "").startswith(("importlib", "_frozen_importlib")):
            frame = frame.f_back
        by = frame.f_globals.get("__name__", "") if frame else ""
        if by.split(".")[0] in ("training", "tests"):
            asked.add(name.split(".")[0])
sys.meta_path.insert(0, Watch())
importlib.import_module("tests.gpu." + sys.argv[1])
print(json.dumps(sorted(asked - set(sys.stdlib_module_names))))
"""


@pytest.mark.parametrize("part", PARTS)
def test_a_part_imports_only_installed_and_packed_packages(part):
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    command = [sys.executable, "-c", IMPORT_AND_TELL, part]
    told = subprocess.run(
        command, cwd=ROOT, env=environment, check=True, capture_output=True, text=True
    ).stdout
    imported = set(json.loads(told)) - {"tests", "training"}
    assert {"torch", "yaml"} <= imported  # so the watch sees what training imports
    assert imported - THERE - TRAVELLING.keys() == set()


def test_the_command_itself_needs_the_standard_library_alone():
    command = [sys.executable, "-S", "-c", "import tests.gpu.__main__"]
    subprocess.run(command, cwd=ROOT, env={**os.environ, "PYTHONPATH": str(ROOT)}, check=True)
