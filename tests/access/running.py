"""A real gateway in a process of its own, with keys of every kind."""

import os
import signal
import socket
import subprocess
import sys
import threading
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path

from service.access.keys import Key, as_text, hash_of, new_key
from service.access.table import SCOPES, Scope

ROOT = Path(__file__).resolve().parents[2]
ADMIN_TOKEN = "the operator's own words"
CALLERS, OPERATOR = "callers", "operator"  # as service/access/table.py names the ports


@dataclass(frozen=True)
class Answer:
    """What came back for one request."""

    status: int
    headers: Mapping[str, str]  # names in lower case
    body: bytes


@dataclass(frozen=True)
class Running:
    """A gateway that answers."""

    process: "subprocess.Popen[str]"
    ports: Mapping[str, int]  # by the name that a row of the table gives them
    keys: Mapping[str, str]  # a key for each scope, and `expired`, `revoked` and `garbage`
    folder: Path
    log: list[str]

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.ports[CALLERS]}"

    def ask(
        self, method: str, target: str, *headers: str, body: bytes = b"", port: str = CALLERS, host: str = "x"
    ) -> Answer:
        """Send a request exactly as it is written here; a library would tidy it up."""
        lines = [f"{method} {target} HTTP/1.1", f"Host: {host}", "Connection: close", *headers]
        if body:
            lines.append(f"Content-Length: {len(body)}")
        with socket.create_connection(("127.0.0.1", self.ports[port]), timeout=20) as connection:
            connection.sendall("\r\n".join([*lines, "", ""]).encode("latin-1") + body)
            received = b""
            while part := connection.recv(65536):
                received += part
        top, _, rest = received.partition(b"\r\n\r\n")
        first, *fields = top.decode("latin-1").split("\r\n")
        split = (field.partition(": ") for field in fields)
        return Answer(int(first.split()[1]), {name.lower(): value for name, _, value in split}, rest)


def keys_of_every_kind() -> tuple[dict[str, str], list[Key]]:
    """Return a key of each kind by the kind's name, and what the file says of them."""
    past = datetime.now(UTC) - timedelta(days=1)
    texts: dict[str, str] = {scope: new_key() for scope in SCOPES}
    keys = [_listed(scope, text, scope) for scope, text in texts.items()]
    texts |= {"expired": new_key(), "revoked": new_key(), "garbage": new_key()}
    keys.append(_listed("expired", texts["expired"], "admin").model_copy(update={"expires": past}))
    keys.append(_listed("revoked", texts["revoked"], "admin").model_copy(update={"revoked": past}))
    return texts, keys


@contextmanager
def running(folder: Path, repository: Path, **settings: object) -> Iterator[Running]:
    """Run `python -m service` with keys, an administrator's token and an audit file in `folder`."""
    texts, keys = keys_of_every_kind()
    (folder / "keys.json").write_text(as_text(keys))
    wanted = {
        "SPARSIGHT_REPOSITORY": repository,
        "SPARSIGHT_PORT": 0,
        "SPARSIGHT_ADMIN_TOKEN": ADMIN_TOKEN,
        "SPARSIGHT_ACCESS__KEYS_FILE": folder / "keys.json",
        "SPARSIGHT_ACCESS__AUDIT_FILE": folder / "audit.jsonl",
        **settings,
    }
    own = {name: value for name, value in os.environ.items() if not name.startswith("SPARSIGHT_")}
    own = {name: value for name, value in own.items() if name not in {"HOST", "PORT"}}
    process = subprocess.Popen(
        [sys.executable, "-m", "service"],
        cwd=ROOT,
        env=own | {name: str(value) for name, value in wanted.items()},
        stderr=subprocess.PIPE,
        text=True,
    )
    log: list[str] = []
    try:
        assert process.stderr is not None
        for line in process.stderr:
            log.append(line)
            if "ready: open" in line:
                break
        else:
            raise RuntimeError("the service did not start:\n" + "".join(log))
        rest = threading.Thread(target=lambda lines=process.stderr: log.extend(lines))
        rest.start()
        ports = {CALLERS: _port_in(log[-1])}
        of_operator = [line for line in log if "the operator's routes are at" in line]
        if of_operator:
            ports[OPERATOR] = _port_in(of_operator[0])
        yield Running(process, ports, texts, folder, log)
        process.send_signal(signal.SIGTERM)
        process.wait(timeout=30)
        rest.join()
    finally:
        process.kill()
        process.wait()
        if process.stderr is not None:
            process.stderr.close()


def _port_in(line: str) -> int:
    return int(line.rstrip("/\n").rpartition(":")[2])


def _listed(name: str, text: str, scope: Scope) -> Key:
    return Key(name=f"a-{name}", sha256=hash_of(text.encode()), scopes=(scope,))
