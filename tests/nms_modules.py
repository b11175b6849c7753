"""The code that runs inside Triton, which cannot import this project, for tests without a server."""

import importlib
import sys
from pathlib import Path
from types import ModuleType

NMS = Path(__file__).parents[1] / "training" / "export" / "triton" / "nms"


def triton_module(name: str) -> ModuleType:
    """Return a module from the folder of the suppression model, imported by its plain name as in Triton."""
    sys.path.insert(0, str(NMS))
    try:
        return importlib.import_module(name)
    finally:
        sys.path.remove(str(NMS))
