"""Progress bars of long loops, shown if the logger `training.progress` is enabled for INFO."""

import logging

from tqdm import tqdm

log = logging.getLogger(__name__)


def hidden() -> bool:
    """Return whether the level of the logger hides progress bars; `--quiet` sets such a level."""
    return not log.isEnabledFor(logging.INFO)


def bar(total: int | None, unit: str, what: str | None = None) -> tqdm:
    """Return a progress bar on stderr that disappears when it is closed.

    Args:
        total: number of units; None if not known.
        unit: name of one unit, such as "image". If the unit is "B" (bytes), the bar shows kB, MB and so on.
        what: text in front of the bar.
    """
    return tqdm(total=total, unit=unit, desc=what, unit_scale=unit == "B", disable=hidden(), leave=False)
