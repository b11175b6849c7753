"""Send the requests of a soak, well and badly behaved ones, and count the answers."""

import asyncio
import re
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field

from tests.load.soak.asks import NUMBER, Ask, Manner

BROKEN = 0  # instead of a status: the connection was lost before the answer
ANSWER_S = 60.0  # longer than every time limit of the service
PIECES, PIECE_S = 4, 0.03
UNREAD_TIMES, UNREAD_S = 60, 0.1
_LENGTH = re.compile(rb"\r\ncontent-length:[ \t]*(\d+)", re.IGNORECASE)
_CLOSE = re.compile(rb"\r\nconnection:[ \t]*close", re.IGNORECASE)


@dataclass
class Answers:
    """The answers so far, by request and status, and the first that were not expected."""

    by_status: Counter[int] = field(default_factory=Counter)
    by_name: Counter[str] = field(default_factory=Counter)
    good_by_name: Counter[str] = field(default_factory=Counter)
    strange: list[str] = field(default_factory=list)
    strange_count: int = 0

    def note(self, ask: Ask, status: int, body: bytes) -> None:
        """Count an answer."""
        self.by_status[status] += 1
        self.by_name[ask.name] += 1
        self.good_by_name[ask.name] += status == 200
        if status not in ask.expected:
            self.strange_count += 1
            if len(self.strange) < 20:
                self.strange.append(f"{ask.name}: {status} {body[:300]!r}")

    def sent(self, ask: Ask) -> None:
        """Count a request whose answer nobody waits for."""
        self.by_name[ask.name] += 1


class Caller:
    """A caller with one connection, which it opens again if it was closed."""

    def __init__(self, port: int, answers: Answers) -> None:
        self._port = port
        self._answers = answers
        self._streams: tuple[asyncio.StreamReader, asyncio.StreamWriter] | None = None

    async def call(self, ask: Ask, number: int) -> None:
        """Send a request in its manner, and count the answer."""
        head = ask.head.replace(NUMBER, b"%08d" % number)
        try:
            async with asyncio.timeout(ANSWER_S):
                await self._call(ask, head)
        except (OSError, TimeoutError, asyncio.IncompleteReadError) as error:
            self._answers.note(ask, BROKEN, repr(error).encode())
            self.close()

    def close(self) -> None:
        """Close the connection at once."""
        if self._streams is not None:
            self._streams[1].transport.abort()
            self._streams = None

    async def _call(self, ask: Ask, head: bytes) -> None:
        reader, writer = await self._open()
        half = len(ask.body) // 2
        if ask.manner is Manner.SLOW:
            writer.write(head)
            step = -(-len(ask.body) // PIECES)
            for start in range(0, len(ask.body), step):
                await asyncio.sleep(PIECE_S)
                writer.write(ask.body[start : start + step])
        elif ask.manner in (Manner.HANG_UP, Manner.STUCK):
            writer.write(head + ask.body[:half])
        elif ask.manner is Manner.UNREAD:
            writer.write(head * UNREAD_TIMES)
        else:
            writer.writelines((head, ask.body))
        if ask.manner in (Manner.HANG_UP, Manner.LEAVE, Manner.UNREAD):
            await asyncio.sleep(UNREAD_S if ask.manner is Manner.UNREAD else 0.005)
            self._answers.sent(ask)
            self.close()
            return
        status, body, stays = await _answer(reader, ask.has_answer_body)
        self._answers.note(ask, status, body)
        if not stays or ask.manner is Manner.STUCK:
            self.close()

    async def _open(self) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
        if self._streams is None or self._streams[0].at_eof():
            self.close()
            self._streams = await asyncio.open_connection("127.0.0.1", self._port, limit=1 << 20)
        return self._streams


async def _answer(reader: asyncio.StreamReader, has_body: bool) -> tuple[int, bytes, bool]:
    head = await reader.readuntil(b"\r\n\r\n")
    length = _LENGTH.search(head)
    body = await reader.readexactly(int(length[1])) if length and has_body else b""
    return int(head[9:12]), body, _CLOSE.search(head) is None


async def send_all(port: int, asks: Sequence[Ask], first: int, callers: int, answers: Answers) -> None:
    """Send requests by several callers, each the next one after its answer; at the end all hang up.

    Args:
        port: of the service.
        asks: the requests, in order.
        first: number of the first request.
        callers: at the same time.
        answers: where the answers are counted.
    """
    queue: Iterator[tuple[int, Ask]] = enumerate(asks, first)

    async def run() -> None:
        caller = Caller(port, answers)
        for number, ask in queue:  # of all callers
            await caller.call(ask, number)
        caller.close()

    await asyncio.gather(*(run() for _ in range(callers)))
