"""The machine on which a measurement was taken."""

import os
import platform
from importlib.metadata import distributions
from pathlib import Path

PACKAGES = ("openvino", "onnxruntime", "onnxruntime-gpu", "torch")
CPUINFO = Path("/proc/cpuinfo")


def describe_machine() -> str:
    """Return a line that names the processor, the cores that this process may use, and package versions."""
    # macOS has no affinity.
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    installed = {each.name: each.version for each in distributions()}
    versions = [f"{name} {installed[name]}" for name in PACKAGES if name in installed]
    return ", ".join([_processor(), f"{cores} core{'s' if cores > 1 else ''}", *versions])


def _processor() -> str:
    if CPUINFO.is_file():
        for line in CPUINFO.read_text(encoding="utf-8").splitlines():
            if line.startswith("model name"):
                return line.partition(":")[2].strip()
    return platform.processor() or platform.machine()
