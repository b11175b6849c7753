"""Faults of the connection between gateway and Triton."""

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path

from tests.faults.backend import Behind, behind, use_triton
from tests.faults.callers import OK
from tests.faults.engine import ALL_WELL, HELD_S, TRITON_GONE
from tests.faults.gateway import in_namespace
from tests.faults.proxy import Mode, Proxy
from tests.faults.scene import Fault, Scene

NAME = "triton.test"
LOST_S = 6.0  # so long that gRPC by itself would look the name up only some seconds after it is back


@contextmanager
def proxied(scene: Scene, host: str = "127.0.0.1", **parts: object) -> Iterator[tuple[Behind, Proxy]]:
    """Run a Triton and a gateway with a proxy between them; `host` is the name that the gateway uses."""
    with Proxy() as proxy, behind(scene, url=f"{host}:{proxy.port}", **parts) as one:
        proxy.target = one.triton.ports["grpc"]
        yield one, proxy


def link_fault(
    break_it: Callable[[Proxy], None], mend_it: Callable[[Proxy], None]
) -> Callable[[Scene], None]:
    """Return a run that breaks the link, waits, mends it, and waits until the gateway uses Triton again."""

    def run(scene: Scene) -> None:
        with proxied(scene) as (one, proxy):
            use_triton(one)
            with scene.calling(*one.callers()):
                scene.breaks()
                break_it(proxy)
                time.sleep(HELD_S)
                mend_it(proxy)
                scene.well(one.by_triton)

    return run


def set_mode(mode: Mode, proxy: Proxy) -> None:
    """Change what the proxy does."""
    proxy.mode = mode


def set_delay(delay_s: float, proxy: Proxy) -> None:
    """Change how long the proxy holds back data."""
    proxy.delay_s = delay_s


def cut(proxy: Proxy) -> None:
    """Reset all connections, and new ones too."""
    proxy.mode = Mode.REFUSE
    proxy.reset()


def cut_often(proxy: Proxy) -> None:
    """Reset all connections ten times; new ones work at once."""
    for _ in range(10):
        proxy.reset()
        time.sleep(0.1)


def write_hosts(hosts: Path, address: str | None) -> None:
    """Change the address that the gateway finds under Triton's name; None: it finds none."""
    with hosts.open("w") as file:  # in place, because the file is mounted
        file.write("127.0.0.1 localhost\n" + (f"{address} {NAME}\n" if address else ""))


def named(scene: Scene, moved_to: str | None) -> None:
    """Let Triton's name lead nowhere for a while, or to another address from then on."""
    hosts = scene.folder / "hosts"
    write_hosts(hosts, "127.0.0.1")
    prefix = in_namespace(f"mount --bind {hosts} /etc/hosts")
    with proxied(scene, host=NAME, prefix=prefix) as (one, proxy):
        use_triton(one)
        with scene.calling(*one.callers()), Proxy(host="127.0.0.2", port=proxy.port) as elsewhere:
            elsewhere.target = proxy.target
            scene.breaks()
            write_hosts(hosts, None)
            cut(proxy)
            time.sleep(LOST_S)
            if moved_to is None:
                proxy.mode = Mode.PASS
            write_hosts(hosts, moved_to or "127.0.0.1")
            scene.well(one.by_triton)


FAULTS = (
    Fault(
        "link-cut",
        "every connection to Triton is reset, and new ones too",
        TRITON_GONE,
        link_fault(cut, partial(set_mode, Mode.PASS)),
    ),
    Fault(
        "link-cut-often",
        "the connections to Triton are reset ten times within a second",
        TRITON_GONE,
        link_fault(cut_often, lambda proxy: None),
    ),
    Fault(
        "link-black-hole",
        "connections to Triton stay open, and nothing gets through",
        TRITON_GONE,
        link_fault(partial(set_mode, Mode.HOLE), partial(set_mode, Mode.PASS)),
    ),
    Fault(
        "link-half-closed",
        "Triton's side of the connections is closed, the gateway's is open",
        TRITON_GONE,
        link_fault(Proxy.half_close, lambda proxy: None),
    ),
    Fault(
        "link-slow",
        "every piece of data takes 100 ms longer, each way",
        ALL_WELL | {"pinned": frozenset({OK})},
        link_fault(partial(set_delay, 0.1), partial(set_delay, 0.0)),
    ),
    Fault(
        "triton-name-lost",
        "the name of Triton leads nowhere for a while, and its connections are cut",
        TRITON_GONE,
        partial(named, moved_to=None),
        needs=("unshare",),
    ),
    Fault(
        "triton-moves",
        "the name of Triton leads to another address from now on",
        TRITON_GONE,
        partial(named, moved_to="127.0.0.2"),
        needs=("unshare",),
    ),
)
