"""Describes on what a measurement was taken: printed above every table."""

import os
import platform
from importlib.metadata import version


def describe_machine() -> str:
    """Return one line: cores, processor, and the versions that matter."""
    processor = "unknown processor"
    with open("/proc/cpuinfo") as lines:  # noqa: PTH123  # read by line, not as a whole
        for line in lines:
            if line.startswith("model name"):
                processor = line.partition(":")[2].strip()
                break
    packages = ", ".join(f"{name} {version(name)}" for name in ("openvino", "tritonclient", "grpcio"))
    cores = len(os.sched_getaffinity(0))
    return f"{cores} cores, {processor}, Python {platform.python_version()}, {packages}, tritonserver 2.51.0"
