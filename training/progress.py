"""Progress bars of long loops: shown where the logger `training.progress` lets INFO through."""

import logging

from tqdm import tqdm

log = logging.getLogger(__name__)


def hidden() -> bool:
    """Return whether bars stay hidden: from Python unless asked for, and under `--quiet`."""
    return not log.isEnabledFor(logging.INFO)


def bar(total: int | None, unit: str, what: str | None = None) -> tqdm:
    """Return a bar on stderr that disappears when it is closed; bytes, unit "B", are shown as kB, MB, ….

    Args:
        total: how many units there are; None: not known.
        unit: one of what is counted, as "image".
        what: what is being done, before the bar.
    """
    return tqdm(total=total, unit=unit, desc=what, unit_scale=unit == "B", disable=hidden(), leave=False)
