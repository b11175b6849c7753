"""Mutate what is mostly text, such as queries, forms and heads of requests, at its delimiters."""

from collections.abc import Sequence
from random import Random

from tests.fuzz.mutate_images import change_bytes

_DELIMITERS = (b"&", b"=", b"\r\n", b"\n", b"--", b";", b",", b":", b'"', b" ", b"/", b"%", b"{", b"\r\n\r\n")
_TOKENS = (
    *(b"", b"0", b"1", b"-1", b"1e9", b"NaN", b"inf", b"-0", b"0.5", b"1_0", b"9" * 25, b"9" * 5000, b"true"),
    *(
        b"null",
        b"[]",
        b"{}",
        b'"',
        b"\\",
        b"'",
        b"%",
        b"%00",
        b"%ff",
        b"%0d%0a",
        b"%25",
        b"+",
        b"\0",
        b"\xff",
    ),
    *(b"\xc3\xa9", b"\xed\xa0\x80", b"\\ud800", b"\r\n", b"\n", b"\t", b"..", b"/", b"//", b"?", b"#", b"*"),
    *(
        b"conf",
        b"classes",
        b"top_k",
        b"timeout_ms",
        b"format",
        b"model",
        b"tiny",
        b"red",
        b"bits",
        b"several",
    ),
    *(b"gzip", b"chunked", b"identity", b"close", b"keep-alive", b"100-continue", b"multipart/form-data"),
    *(b"data:image/png;base64,", b"image=", b'{"image":"', b"filename*=utf-8''", b"boundary=", b"http://"),
)


def mutate_text(data: bytes, random: Random, seeds: Sequence[bytes], largest: int) -> bytes:
    """Return the text, changed in one to four places; at most `largest` bytes."""
    for _ in range(random.choice((1, 1, 2, 3, 4))):
        if not data or random.random() < 0.05:
            data = random.choice(seeds)
        data = (change_bytes(data, random) if random.random() < 0.3 else _at_delimiter(data, random))[
            :largest
        ]
    return data


def _at_delimiter(data: bytes, random: Random) -> bytes:
    delimiter = random.choice([each for each in _DELIMITERS if each in data] or [b"\n"])
    pieces = data.split(delimiter)
    at, other = random.randrange(len(pieces)), random.randrange(len(pieces))
    match random.randrange(8):
        case 0:
            del pieces[at]
        case 1:
            pieces.insert(other, pieces[at])
        case 2:
            pieces[at], pieces[other] = pieces[other], pieces[at]
        case 3 | 4:
            pieces[at] = random.choice(_TOKENS)
        case 5:
            pieces.insert(at, random.choice(_TOKENS))
        case 6:
            pieces[at] += random.choice(_TOKENS)
        case _:
            pieces[at : at + 1] = [pieces[at]] * random.choice((2, 10, 100, 1000))
    return delimiter.join(pieces)
