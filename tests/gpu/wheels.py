"""Unpacks packed wheels on a machine that lacks these packages and cannot download them."""

import importlib.util
import sys
import zipfile
from pathlib import Path

# Module name and package name of every import beside torch, OpenCV, NumPy and safetensors, and of the
# packages that these imports need. test_closure.py checks the list.
TRAVELLING = {
    "annotated_types": "annotated-types",
    "PIL": "pillow",
    "faster_coco_eval": "faster-coco-eval",
    "pydantic": "pydantic",
    "pydantic_core": "pydantic_core",
    "simplejpeg": "simplejpeg",
    "tabulate": "tabulate",
    "tqdm": "tqdm",
    "typing_extensions": "typing_extensions",
    "typing_inspection": "typing-inspection",
    "yaml": "PyYAML",
}
PYTHON = f"{sys.version_info.major}.{sys.version_info.minor}"


class WheelMissing(Exception):
    """A package is neither installed nor packed; the message says how to pack it."""


def unpack_lacking(wheels: Path, into: Path) -> list[str]:
    """Unpack the wheels of the packages that this Python lacks, and return their names.

    Raises:
        WheelMissing: a wheel for this Python is not packed.
    """
    lacking = [name for module, name in TRAVELLING.items() if importlib.util.find_spec(module) is None]
    for name in lacking:
        with zipfile.ZipFile(_wheel(wheels, name)) as wheel:
            wheel.extractall(into)
    return lacking


def _wheel(wheels: Path, name: str) -> Path:
    for path in sorted(wheels.glob("*.whl")):
        distribution, _, tags = path.name.partition("-")
        python_tags = tags.split("-")[-3].split(".")
        same = distribution.lower() == name.lower().replace("-", "_")
        if same and {f"cp{PYTHON.replace('.', '')}", "py3"} & set(python_tags):
            return path
    raise WheelMissing(
        f"this Python lacks {name}, and {wheels} holds no wheel of it for Python {PYTHON}: "
        f"pack again with --python {PYTHON}"
    )
