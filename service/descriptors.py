"""Let the process open as many files as the system allows, and derive the largest number of connections."""

import sys

from service.errors import SettingsInvalid

MOST = 65_536  # descriptors that the service asks for; each costs the kernel memory
KEPT = 256  # for models, libraries, logs, Triton, and connections of the admin port
OF_ADMIN = 64  # connections of the admin port at once
_DEFAULT = 4096


def raise_limit() -> int:
    """Raise the limit on open files as far as allowed, up to `MOST`; return the new limit."""
    if sys.platform == "win32":
        return MOST
    import resource

    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    wanted = MOST if hard == resource.RLIM_INFINITY else min(hard, MOST)
    if soft == resource.RLIM_INFINITY or soft >= wanted:
        return MOST if soft == resource.RLIM_INFINITY else soft
    resource.setrlimit(resource.RLIMIT_NOFILE, (wanted, hard))
    return wanted


def connections_of(limit: int, wanted: int | None) -> int:
    """Return how many connections may be open at once.

    Args:
        limit: the limit on open files.
        wanted: the setting; None for the default.

    Raises:
        SettingsInvalid: the process may not open so many files.
    """
    most = limit - KEPT
    if wanted is None:
        return max(1, min(_DEFAULT, max(most, limit // 2)))
    if wanted > most:
        raise SettingsInvalid(
            f"SPARSIGHT_MAX_CONNECTIONS={wanted} cannot be used: this process may open {limit} files, and"
            f" needs {KEPT} for other things; set at most {max(1, most)}, or raise the limit (ulimit -Hn)"
        )
    return wanted
