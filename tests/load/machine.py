"""Describes the machine of a measurement, for printing above each table."""

import os
import platform
from importlib.metadata import version


def describe_machine() -> str:
    """Return one line with cores, processor and relevant versions."""
    processor = "unknown processor"
    with open("/proc/cpuinfo") as lines:  # noqa: PTH123  # only the first lines are read
        for line in lines:
            if line.startswith("model name"):
                processor = line.partition(":")[2].strip()
                break
    packages = ", ".join(f"{name} {version(name)}" for name in ("openvino", "tritonclient", "grpcio"))
    cores = len(os.sched_getaffinity(0))
    return f"{cores} cores, {processor}, Python {platform.python_version()}, {packages}, tritonserver 2.51.0"
