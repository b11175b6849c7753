"""A server of HTTP that says what a test wants, and remembers what it was asked."""

import threading
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer


class Server(ThreadingHTTPServer):
    def handle_error(self, *_):
        """Say nothing when a caller has left."""


@contextmanager
def answering(status=200, body=b"", headers=(), wait=lambda: None):
    """Answer every request the same; yield host:port and the requests.

    `wait` is called before the answer, and after each piece of a body that is a list.
    """
    seen = []
    pieces = [body] if isinstance(body, bytes) else body

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_GET(self):
            seen.append(
                (self.path, self.headers, self.rfile.read(int(self.headers.get("Content-Length", 0))))
            )
            wait()
            if status is None:
                self.close_connection = True
                return
            self.send_response(status)
            for name, value in {"Content-Length": str(sum(map(len, pieces))), **dict(headers)}.items():
                self.send_header(name, value)
            self.end_headers()
            for piece in pieces:
                self.wfile.write(piece)
                self.wfile.flush()
                wait()

        def do_POST(self):
            self.do_GET()

        def log_message(self, *_):
            pass

    server = Server(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
    thread.start()
    try:
        yield f"127.0.0.1:{server.server_port}", seen
    finally:
        server.shutdown()
        thread.join()
        server.server_close()
