"""Count the cores that this process may use, by its affinity and the CPU quotas of its control groups.

This module imports nothing of the service: Triton's `openvino` backend uses a copy of this file.
"""

import os
from collections.abc import Iterator
from pathlib import Path

CONTROL_GROUPS = Path("/sys/fs/cgroup")
OWN_GROUPS = Path("/proc/self/cgroup")


def usable_cores(root: Path = CONTROL_GROUPS, own: Path = OWN_GROUPS) -> int:
    """Return how many cores this process may keep busy: all that it may run on, or fewer if a quota says so.

    A container with `docker run --cpus 4` sees every core of the machine, but gets the time of only four
    cores. If it runs more threads, the kernel stops them all for the rest of each period of 100 ms. A quota
    of 2.5 cores counts as 2, because with a third thread the slowest images would take several times as long.

    Args:
        root: folder in which control groups of version 1 or 2 are mounted.
        own: file that lists the control groups of this process.
    """
    return max(1, min([allowed_cores(), *(int(quota) for quota in _quotas(root, own))]))


def allowed_cores() -> int:
    """Return how many cores this process may run on, by its affinity; quotas do not count."""
    if hasattr(os, "sched_getaffinity"):  # not on every system
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


def _quotas(root: Path, own: Path) -> Iterator[float]:
    """Yield the quotas, in cores, of this process's control groups and of all their parent groups."""
    for line in (_text(own) or "").splitlines():
        _, controllers, group = line.split(":", 2)
        if not controllers:
            tops = [root]  # version 2: one tree for all controllers
        elif "cpu" in controllers.split(","):
            tops = [root / "cpu", root / controllers]  # the first is often a link to the second
        else:
            continue
        for top in tops:
            folder = top
            yield from _quota(folder)
            # In a container, this path may be the host's. Then it leads nowhere, and the container's own
            # group is the top.
            for part in group.split("/") if ".." not in group.split("/") else ():
                folder /= part
                yield from _quota(folder)


def _quota(folder: Path) -> Iterator[float]:
    """Yield the quota of one control group, in cores; yield nothing if the group has no quota."""
    words = (_text(folder / "cpu.max") or "").split()
    if not words:
        words = [_text(folder / f"cpu.cfs_{name}_us") or "" for name in ("quota", "period")]
    try:
        quota, period = (int(word) for word in words)
    except ValueError:  # "max", or no such files
        return
    if quota > 0 and period > 0:  # version 1 writes -1 for no quota
        yield quota / period


def _text(path: Path) -> str | None:
    try:
        return path.read_text(encoding="utf-8")
    except OSError:
        return None
