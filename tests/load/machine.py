"""Describes the machine of a measurement, for printing above each table."""

import os
import platform
from collections.abc import Sequence
from importlib.metadata import version


def describe_machine(
    packages: Sequence[str] = ("openvino", "tritonclient", "grpcio"), also: str = "tritonserver 2.51.0"
) -> str:
    """Return one line with cores, processor, versions of Python and of packages, and further versions."""
    processor = "unknown processor"
    with open("/proc/cpuinfo") as lines:  # noqa: PTH123  # only the first lines are read
        for line in lines:
            if line.startswith("model name"):
                processor = line.partition(":")[2].strip()
                break
    versions = [f"{name} {version(name)}" for name in packages] + [also]
    cores = len(os.sched_getaffinity(0))
    return f"{cores} cores, {processor}, Python {platform.python_version()}, {', '.join(versions)}"
