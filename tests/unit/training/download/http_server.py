"""A real HTTP server on 127.0.0.1 that can imitate faults of servers and networks."""

import contextlib
import re
import threading
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer


@dataclass
class Server:
    """The files and the behaviour of the server; `requests` holds (path, Range, If-Range) of each request."""

    files: dict[str, bytes] = field(default_factory=dict)
    etag: str | None = '"first"'
    date: str | None = None  # value of Last-Modified
    ranges: bool = True
    lengths: bool = True  # send Content-Length
    off_by: int = 0  # bytes by which a part begins later than requested
    statuses: list[int] = field(default_factory=list)  # status codes of the first answers, one per request
    headers: dict[str, str] = field(default_factory=dict)  # headers of these answers
    drops: list[int] = field(default_factory=list)  # bytes sent before the connection closes
    on_drop: list[Callable[[], None]] = field(default_factory=list)  # called before it closes
    requests: list[tuple[str, str | None, str | None]] = field(default_factory=list)
    url: str = ""

    @property
    def offsets(self) -> list[str | None]:
        """Return the Range header of each request, None if it has none."""
        return [each[1] for each in self.requests]


@contextlib.contextmanager
def serving(**settings: object) -> Iterator[Server]:
    """Run the server until the end of the block."""
    state = Server(**settings)

    class Handler(_Handler):
        server_state = state

    http = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    http.daemon_threads = True
    thread = threading.Thread(target=http.serve_forever, kwargs={"poll_interval": 0.01}, daemon=True)
    thread.start()
    state.url = f"http://127.0.0.1:{http.server_port}"
    try:
        yield state
    finally:
        http.shutdown()
        http.server_close()
        thread.join()


class _Handler(BaseHTTPRequestHandler):
    server_state: Server

    def do_GET(self) -> None:
        state = self.server_state
        asked, condition = self.headers.get("Range"), self.headers.get("If-Range")
        state.requests.append((self.path, asked, condition))
        if state.statuses and (status := state.statuses.pop(0)) != 200:
            return self._answer(status, state.headers, b"")
        content = state.files.get(self.path)
        if content is None:
            return self._answer(404, {}, b"no such file")
        headers = {"ETag": state.etag, "Last-Modified": state.date}
        headers = {name: value for name, value in headers.items() if value}
        same = condition is None or condition in headers.values()
        if asked and state.ranges and same:
            start = int(re.fullmatch(r"bytes=(\d+)-", asked)[1]) + state.off_by
            if start >= len(content):
                return self._answer(416, {"Content-Range": f"bytes */{len(content)}"}, b"")
            headers["Content-Range"] = f"bytes {start}-{len(content) - 1}/{len(content)}"
            return self._answer(206, headers, content[start:])
        return self._answer(200, headers, content)

    def _answer(self, status: int, headers: dict[str, str], body: bytes) -> None:
        state = self.server_state
        self.send_response(status)
        for name, value in headers.items():
            self.send_header(name, value)
        if state.lengths:
            self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.close_connection = True
        if status in (200, 206) and state.drops:
            cut = state.drops.pop(0)
            self.wfile.write(body[:cut])
            self.wfile.flush()
            if state.on_drop:
                state.on_drop.pop(0)()
            return
        self.wfile.write(body)

    def log_message(self, *args: object) -> None:
        """Log nothing."""
