"""The number of cores that this process may use."""

import math
import os
from pathlib import Path

CGROUPS = Path("/sys/fs/cgroup")
OWN_GROUPS = Path("/proc/self/cgroup")


def usable_cores(root: Path = CGROUPS, own: Path = OWN_GROUPS) -> int:
    """Return how many cores this process may use, from its affinity and its control groups' CPU quotas.

    A container sees all cores of the machine. But with `docker run --cpus 1.5`, it gets the time of 1.5
    cores, and this function returns 2.

    Args:
        root: folder in which control groups of version 1 or 2 are mounted.
        own: file that lists the control groups of this process.
    """
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    return max(1, min([cores, *map(math.ceil, _quotas(root, own))]))


def _quotas(root: Path, own: Path) -> list[float]:
    """Return the CPU quotas, in cores, of this process's control groups and of all their parent groups."""
    lines = own.read_text(encoding="utf-8").splitlines() if own.is_file() else []
    found = []
    for line in lines:
        _, controllers, group = line.split(":", 2)
        if controllers and "cpu" not in controllers.split(","):
            continue
        top = root / "cpu" if controllers else root
        here = top / group.strip("/")
        # In a container, this path can be a path on the host. Then the container's own group is `top`.
        for folder in {here, *here.parents, top}:
            if folder.is_relative_to(top):
                found += _quota(folder)
    return found


def _quota(folder: Path) -> list[float]:
    """Return a list with the CPU quota of one control group, in cores; empty if the group has no quota."""
    both, quota, period = (folder / f"cpu.{name}" for name in ("max", "cfs_quota_us", "cfs_period_us"))
    if both.is_file():
        words = both.read_text(encoding="utf-8").split()
    elif quota.is_file() and period.is_file():
        words = [each.read_text(encoding="utf-8").strip() for each in (quota, period)]
    else:
        return []
    return [int(words[0]) / int(words[1])] if words[0] not in ("max", "-1") else []
