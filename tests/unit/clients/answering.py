"""An HTTP server that gives the answers a test wants, and records the requests."""

import json
import threading
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

LAYER = {
    "layer": "backbone.p4",
    "experts": 2,
    "active": [1],
    "weights": [1],
    "entropy_bits": 0.5,
    "probabilities": [0.25, 0.75],
}
ANSWER = {
    "id": "01J",
    "model": {
        "name": "tiny",
        "version": "3",
        "sha256": "ab",
        "backend": "openvino",
        "backend_reason": "preferred",
        "precision": "f32",
    },
    "image": {"width": 64, "height": 48},
    "predictions": [
        {"x": 16, "y": 8.5, "width": 32, "height": 5, "class": "red", "class_id": 0, "confidence": 0.9}
    ],
    "moe": {
        "layers": [LAYER],
        "top_k": 2,
        "gflops": {"used": 6.9, "dense": 9.8},
        "degraded": False,
        "routing": "normal",
    },
    "timing_ms": {"decode": 1.5, "total": 31.0},
    "warnings": ["mind"],
}
CLASSES = ANSWER | {"predictions": [{"class": "red", "class_id": 0, "confidence": 0.75}]}


def problem(slug, detail="a sentence", **more):
    return json.dumps({"type": f"urn:sparsight:problem:{slug}", "detail": detail, **more}).encode()


class Server(ThreadingHTTPServer):
    def handle_error(self, *_):
        """Log nothing when a caller has disconnected."""


@contextmanager
def answering(status=200, body=b"", headers=(), wait=lambda: None):
    """Run a server that gives every request the same answer; yield host:port and the requests.

    `wait` is called before the answer. If the body is a list, it is also called after each item.
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
