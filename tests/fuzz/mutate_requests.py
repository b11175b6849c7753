"""Build whole mutated HTTP requests, with image files, forms, JSON and chunks as bodies."""

from collections.abc import Sequence
from random import Random
from typing import NamedTuple

from tests.fuzz.mutate_images import mutate_image
from tests.fuzz.mutate_text import mutate_text

_LARGEST = 110_000  # a little over the limit of the service
Route = tuple[str, str]
_IMAGE_ROUTES = ("/detect", "/detect", "/detect/batch", "/preview")
_DOCUMENTED_GETS = ("/models", "/healthz", "/readyz", "/metrics", "/models/{name}/example")
_GETS = (*_DOCUMENTED_GETS, "/models/reload", "/nothing")
_BOUNDARY = b"multipart/form-data; boundary=xx"


class Sent(NamedTuple):
    """What is sent over one connection."""

    data: bytes
    cuts: tuple[int, ...]  # where it is sent in parts
    routes: tuple[Route | None, ...]  # of each request; None if its head was mutated
    methods: tuple[bytes, ...]  # as far as they are known; without a body of the answer to HEAD
    hurried: bool  # whether a request may have a time limit


class Seeds(NamedTuple):
    """What requests are made from."""

    images: Sequence[bytes]
    queries: Sequence[bytes]
    bodies: Sequence[tuple[bytes, bytes]]  # content type and body


def make(random: Random, seeds: Seeds) -> Sent:
    """Return one to four requests, most of them mutated somewhere."""
    count = random.choice((1, 1, 1, 1, 1, 2, 4))
    made = [_one(random, seeds) for _ in range(count)]
    data = b"".join(each for each, _ in made)
    cuts = sorted(random.randrange(len(data) + 1) for _ in range(random.choice((0, 0, 0, 1, 3))))
    methods = tuple(each.partition(b" ")[0] for each, _ in made)
    return Sent(data, tuple(cuts), tuple(route for _, route in made), methods, b"timeout" in data.lower())


def _one(random: Random, seeds: Seeds) -> tuple[bytes, Route | None]:
    if random.random() < 0.12:
        path = random.choice(_GETS)
        method = random.choice((b"GET", b"GET", b"GET", b"HEAD", b"OPTIONS", b"POST", b"DELETE"))
        target = path.replace("{name}", random.choice(("tiny", "..", "%2e", "a" * 300))).encode()
        head = b"%b %b HTTP/1.1\r\nHost: x\r\n\r\n" % (method, target)
        known = (method.decode(), path) if method == b"GET" and path in _DOCUMENTED_GETS else None
        return (head, known) if random.random() < 0.5 else (mutate_text(head, random, [head], 70_000), None)
    path = random.choice(_IMAGE_ROUTES)
    kind, body = _body(random, seeds)
    query = random.choice((b"", b"", random.choice(seeds.queries)))
    if query and random.random() < 0.5:
        query = mutate_text(query, random, seeds.queries, 8000)
    # What cannot be in a target would mutate the head.
    query = bytes(byte for byte in query if 0x21 <= byte <= 0x7E and byte != 0x23)
    target = path.encode() + (b"?" + query if query else b"")
    lines = [b"POST %b HTTP/1.1" % target, b"Host: x", b"Content-Type: " + kind]
    if random.random() < 0.2:
        lines.append(b"Transfer-Encoding: chunked")
        body = _in_chunks(body, random)
        if random.random() < 0.3:
            return _join(lines, mutate_text(body, random, [body], _LARGEST)), None
    else:
        lines.append(b"Content-Length: %d" % len(body))
    if random.random() < 0.15:
        lines += random.sample((b"Expect: 100-continue", b"Origin: http://x", b"Accept: image/jpeg"), 1)
    if random.random() < 0.25:
        head = mutate_text(b"\r\n".join(lines), random, [b"\r\n".join(lines)], 70_000)
        return head + b"\r\n\r\n" + body, None
    return _join(lines, body), ("POST", path)


def _join(lines: Sequence[bytes], body: bytes) -> bytes:
    return b"\r\n".join((*lines, b"", body))


def _body(random: Random, seeds: Seeds) -> tuple[bytes, bytes]:
    if random.random() < 0.5:
        image = random.choice(seeds.images)
        if random.random() < 0.7:
            image = mutate_image(image, random, seeds.images, _LARGEST)
        if random.random() < 0.6:
            return b"image/png", image
        part = b'--xx\r\nContent-Disposition: form-data; name="i"; filename="a"\r\n\r\n' + image
        return _BOUNDARY, (part + b"\r\n") * random.choice((1, 2, 3, 4)) + b"--xx--\r\n"
    kind, body = random.choice(seeds.bodies)
    if random.random() < 0.8:
        body = mutate_text(body, random, [body for _, body in seeds.bodies], _LARGEST)
    return kind, body


def _in_chunks(body: bytes, random: Random) -> bytes:
    size = random.choice((1, 7, 100, 4096, 100_000))
    size = max(size, len(body) // 200)
    parts = [body[i : i + size] for i in range(0, len(body), size)]
    return b"".join(b"%x\r\n%b\r\n" % (len(part), part) for part in parts) + b"0\r\n\r\n"
