"""Send mutated requests over many connections to a running service, and check every answer."""

import asyncio
import hashlib
import json
import sys
import time
from collections import Counter
from contextlib import suppress
from pathlib import Path
from random import Random

from tests.fuzz.mutate_requests import Route, Seeds, Sent, make
from tests.fuzz.parsers import parser_seeds
from tests.fuzz.promises import BrokenPromise
from tests.fuzz.replies import check_reply, documented, read_reply
from tests.fuzz.seeds import image_seeds
from tests.fuzz.served import Served, Use, served

BATCH = 500
AT_ONCE = 16
_IDLE_S = 3.0  # without a byte of an answer; then the request was not whole
_LONGEST_S = 60.0  # of one connection that does answer
GROWN = Use(memory_mb=64, threads=8, descriptors=12)
"""Most that a process may have more at the end than after the first batch; a pool has 6 threads."""


class Sender:
    """Sends requests to one service, and keeps what was found."""

    def __init__(self, service: Served, folder: Path, seed: int) -> None:
        """Send to `service`; findings go to a folder."""
        self._service = service
        self._folder = folder
        self._random = Random(seed)
        self._documented = documented()
        bodies = [
            tuple(data.split(b"\n", 2)[1:]) for name, data in parser_seeds().items() if "query" not in name
        ]
        queries = [
            data.split(b"\n", 2)[2] for name, data in parser_seeds().items() if name.startswith("query")
        ]
        self._seeds = Seeds(list(image_seeds().values()), queries, [(kind, body) for kind, body in bodies])
        self.statuses: Counter[str] = Counter()
        self.kinds: Counter[str] = Counter()
        folder.mkdir(parents=True, exist_ok=True)

    async def send(self, count: int) -> None:
        """Send so many requests, some at once."""
        left = iter(range(count))

        async def work() -> None:
            for _ in left:
                sent = make(self._random, self._seeds)
                try:
                    await self._exchange(sent)
                except BrokenPromise as broken:
                    self.note(broken.kind, str(broken), sent.data)
                except (ValueError, KeyError, IndexError) as error:
                    self.note("unreadable", repr(error), sent.data)
                except TimeoutError:
                    self.note("hang", f"no end within {_LONGEST_S:g} s", sent.data)

        await asyncio.gather(*(work() for _ in range(AT_ONCE)))

    async def _exchange(self, sent: Sent) -> None:
        try:
            reader, writer = await asyncio.open_connection("127.0.0.1", self._service.port)
        except OSError as error:
            raise BrokenPromise("refused connection", repr(error)) from error
        try:
            async with asyncio.timeout(_LONGEST_S):
                sending = asyncio.create_task(_write(writer, sent))
                await self._read(reader, sent)
                sending.cancel()
                await asyncio.gather(sending, return_exceptions=True)
        finally:
            writer.transport.abort()

    async def _read(self, reader: asyncio.StreamReader, sent: Sent) -> None:
        buffer, got, routes = b"", 0, list(sent.routes)
        if any(route is None for route in routes):  # later ones may be read as a part of it
            routes = routes[: routes.index(None)]
        while got < len(sent.routes):
            try:
                chunk = await asyncio.wait_for(reader.read(65_536), _IDLE_S)
            except TimeoutError:
                self.statuses["none"] += not got
                return
            except ConnectionError:
                return
            buffer += chunk
            while whole := read_reply(buffer, has_body=b"HEAD" not in sent.data):
                reply, buffer = whole
                route: Route | None = routes[got] if got < len(routes) else None
                check_reply(
                    reply, route, self._documented.get(route) if route else None, hurried=sent.hurried
                )
                if reply.status >= 200:
                    got += 1
                    self.statuses[f"{reply.status // 100}xx"] += 1
                if b"HEAD" in sent.data:
                    return  # whether the next bytes are a body depends on how the request was read
            if not chunk:
                if buffer:
                    raise BrokenPromise("answer cut short", repr(buffer[:300]))
                return

    def note(self, kind: str, words: str, data: bytes = b"") -> None:
        """Keep the first inputs of a kind of finding."""
        name = hashlib.sha256(kind.encode()).hexdigest()[:12]
        self.kinds[kind] += 1
        if self.kinds[kind] <= 5:
            (self._folder / f"{name}-{self.kinds[kind]}.txt").write_text(
                f"{kind}\n{words}\n", errors="replace"
            )
            (self._folder / f"{name}-{self.kinds[kind]}.bin").write_bytes(data)


async def _write(writer: asyncio.StreamWriter, sent: Sent) -> None:
    with suppress(OSError):
        for start, end in zip((0, *sent.cuts), (*sent.cuts, len(sent.data)), strict=True):
            writer.write(sent.data[start:end])
            await writer.drain()
            if sent.cuts:
                await asyncio.sleep(0.002)


def run(folder: Path, runs: int, seed: int) -> bool:
    """Send requests until the folder has had so many; print one line, and return whether all is well."""
    folder.mkdir(parents=True, exist_ok=True)
    state = folder / "state.json"
    kept = json.loads(state.read_text()) if state.exists() else {"runs": 0, "seconds": 0.0}
    statuses, kinds, began_s = (
        Counter(kept.get("statuses", {})),
        Counter(kept.get("kinds", {})),
        time.monotonic(),
    )
    with served(folder) as service:
        sender = Sender(service, folder / "findings", seed + kept["runs"])
        golden, first = service.golden(), None
        while kept["runs"] < runs and service.process.poll() is None:
            asyncio.run(sender.send(min(BATCH, runs - kept["runs"])))
            kept["runs"] += min(BATCH, runs - kept["runs"])
            first = first or _settled(service)
            _check_alive(service, sender, golden)
            kept["statuses"], kept["kinds"] = statuses + sender.statuses, kinds + sender.kinds
            seconds = kept["seconds"] + time.monotonic() - began_s
            state.write_text(json.dumps(kept | {"seconds": seconds}))
            print(
                f"requests: {kept['runs']:,} of {runs:,}, {dict(kept['kinds'])}", file=sys.stderr, flush=True
            )
        grown = _check_growth(service, sender, first)
        for line in service.complaints():
            sender.note("log", line)
    found = kinds + sender.kinds
    print(
        f"requests: {kept['runs']:,} connections with mutated requests in"
        f" {kept['seconds'] + time.monotonic() - began_s:,.0f} s, answers"
        f" {dict(sorted((statuses + sender.statuses).items()))}, {found.total()} findings {dict(found)};"
        f" memory {grown.memory_mb:+.0f} MB, threads {grown.threads:+d}, descriptors {grown.descriptors:+d}"
    )
    return not found and kept["runs"] >= runs


def _check_alive(service: Served, sender: Sender, golden: dict[str, object]) -> None:
    if service.process.poll() is not None:
        sender.note("crash", f"the process ended with {service.process.returncode}")
    elif service.get("/healthz")[0] != 200:
        sender.note("health", "not 200")
    elif service.golden() != golden:
        sender.note("golden", "the golden image has another answer")


def _check_growth(service: Served, sender: Sender, first: Use | None) -> Use:
    if first is None or service.process.poll() is not None:
        return Use(0, 0, 0)
    last = _settled(service)
    grown = Use(*(after - before for after, before in zip(last, first, strict=True)))
    for name, value, most in zip(Use._fields, grown, GROWN, strict=True):
        if value > most:
            sender.note(f"growth of {name}", f"from {first} to {last}")
    return grown


def _settled(service: Served) -> Use:
    """Return what the process has once its connections are closed."""
    for _ in range(30):
        before = service.use()
        time.sleep(0.2)
        if service.use().descriptors == before.descriptors:
            break
    return service.use()
