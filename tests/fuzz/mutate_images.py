"""Mutate image files along their structure, so that most of them get past the first checks of a decoder.

A byte changed anywhere in a PNG only breaks a checksum. Here, chunks, segments and tags are changed, moved
and left out as wholes, and checksums and lengths are made right again afterwards.
"""

import struct
import zlib
from collections.abc import Callable, Sequence
from random import Random

Part = tuple[bytes, bytes]  # name and content of a chunk or segment
NUMBERS = (
    0,
    1,
    2,
    3,
    4,
    7,
    8,
    15,
    16,
    17,
    31,
    32,
    64,
    100,
    127,
    128,
    255,
    256,
    511,
    512,
    1000,
    0x7FFF,
    0x8000,
)
_LARGE = (0xFFFF, 0x10000, 0x7FFFFFFF, 0x80000000, 0xFFFFFFFF)
_LONGEST_PIXELS = 100_000  # bytes of unpacked pixels of a PNG that are changed and packed again
_TIFF_VALUES = {  # kinds of compression, of colours and of planes, to libtiff
    259: (1, 2, 3, 4, 5, 6, 7, 8, 32771, 32773, 32946, 34676, 34677, 34925, 50000, 50001),
    262: (0, 1, 2, 3, 4, 5, 6, 8, 32803, 32844, 32845),
    284: (1, 2),
}
_NO_LENGTH = {0x01, *range(0xD0, 0xDA)}  # markers of a JPEG without a length


def mutate_image(data: bytes, random: Random, seeds: Sequence[bytes], largest: int) -> bytes:
    """Return an image file that was changed in one to four places; at most `largest` bytes."""
    for _ in range(random.choice((1, 1, 1, 2, 3, 4))):
        data = _once(data, random, seeds)[:largest]
    return data


def _once(data: bytes, random: Random, seeds: Sequence[bytes]) -> bytes:
    if random.random() < 0.04 or len(data) < 8:
        return random.choice(seeds)
    if random.random() < 0.08:
        return change_bytes(data, random)
    match data[:2]:
        case b"\x89P":
            changed = join_png(_in_parts(split_png(data), random, _in_chunk))
        case b"\xff\xd8":
            changed = join_jpeg(_in_parts(split_jpeg(data), random, _in_segment))
        case b"RI":
            changed = join_riff(_in_parts(split_riff(data), random, _in_content))
        case b"II" | b"MM":
            changed = _in_tiff(data, random)
        case b"BM":
            changed = _in_head(data, random, 14, 54, 4)
        case b"GI":
            changed = _in_head(data, random, 6, 13, 2)
        case _:
            changed = change_bytes(data, random)
    return changed


def change_bytes(data: bytes, random: Random) -> bytes:
    """Return the bytes with some of them changed, left out, repeated or added."""
    changed = bytearray(data)
    at = random.randrange(len(data) + 1)
    match random.randrange(8):
        case 0:
            return data[:at]
        case 1:
            del changed[at : at + random.choice((1, 2, 4, 16))]
        case 2:
            changed[at:at] = random.randbytes(random.choice((1, 2, 4, 16)))
        case 3:
            width = random.choice((1, 2, 4))
            number = random.choice(NUMBERS + _LARGE) % (1 << 8 * width)
            changed[at : at + width] = number.to_bytes(width, random.choice(("little", "big")))
        case 4:
            start = random.randrange(len(data) + 1)
            changed[at:at] = data[start : start + random.randrange(1, 64)]
        case _:
            for _ in range(random.choice((1, 1, 2, 8))):
                if changed:
                    changed[random.randrange(len(changed))] ^= 1 << random.randrange(8)
    return bytes(changed)


def _in_head(data: bytes, random: Random, start: int, end: int, width: int) -> bytes:
    """Change a number of the header half of the time; else any byte."""
    if random.random() < 0.5:
        return change_bytes(data, random)
    at = random.randrange(start, end, width)
    number = random.choice(NUMBERS + _LARGE) % (1 << 8 * width)
    return data[:at] + number.to_bytes(width, "little") + data[at + width :]


def _in_parts(parts: list[Part], random: Random, inside: Callable[[Part, Random], Part]) -> list[Part]:
    if not parts:
        return parts
    at, other = random.randrange(len(parts)), random.randrange(len(parts))
    match random.randrange(10):
        case 0:
            del parts[at]
        case 1:
            parts.insert(other, parts[at])
        case 2:
            parts[at], parts[other] = parts[other], parts[at]
        case 3:
            parts[at] = (parts[at][0], parts[other][1])
        case _:
            parts[at] = inside(parts[at], random)
    return parts


def _in_content(part: Part, random: Random) -> Part:
    return part[0], change_bytes(part[1], random)


# ---- PNG -------------------------------------------------------------------------------------


def split_png(data: bytes) -> list[Part]:
    """Return the chunks of a PNG without their checksums; what is behind the last whole chunk is lost."""
    parts, at = [], 8
    while at + 8 <= len(data):
        (length,) = struct.unpack_from(">I", data, at)
        parts.append((data[at + 4 : at + 8], data[at + 8 : at + 8 + length]))
        at += 12 + length
    return parts


def join_png(parts: Sequence[Part]) -> bytes:
    """Return a PNG of these chunks, with right checksums."""
    chunks = (
        struct.pack(">I", len(content)) + name + content + struct.pack(">I", zlib.crc32(name + content))
        for name, content in parts
    )
    return b"\x89PNG\r\n\x1a\n" + b"".join(chunks)


def _in_chunk(part: Part, random: Random) -> Part:
    name, content = part
    if name == b"IHDR" and len(content) == 13 and random.random() < 0.8:
        fields = list(struct.unpack(">IIBBBBB", content))
        at = random.randrange(7)
        choices = NUMBERS if at < 2 else ((1, 2, 4, 8, 16) if at == 2 else (0, 1, 2, 3, 4, 6))
        fields[at] = random.choice(choices)
        return name, struct.pack(">IIBBBBB", *fields)
    if name in (b"IDAT", b"fdAT") and random.random() < 0.7:
        try:
            pixels = zlib.decompressobj().decompress(content, _LONGEST_PIXELS)
            return name, zlib.compress(change_bytes(pixels, random), 1)
        except zlib.error:
            pass
    if random.random() < 0.1:
        name = random.choice(
            (b"tRNS", b"PLTE", b"gAMA", b"iCCP", b"eXIf", b"acTL", b"fcTL", b"sBIT", b"zTXt")
        )
    return name, change_bytes(content, random)


# ---- JPEG ------------------------------------------------------------------------------------


def split_jpeg(data: bytes) -> list[Part]:
    """Return the segments of a JPEG by their markers; the last one holds all that follows the first scan."""
    parts, at = [], 2
    while at + 4 <= len(data) and data[at] == 0xFF:
        if data[at + 1] in _NO_LENGTH:
            break
        (length,) = struct.unpack_from(">H", data, at + 2)
        parts.append((data[at : at + 2], data[at + 4 : at + 2 + length]))
        at += 2 + max(length, 2)
    return [*parts, (b"", data[at:])]


def join_jpeg(parts: Sequence[Part]) -> bytes:
    """Return a JPEG of these segments, with right lengths."""
    segments = (
        marker + struct.pack(">H", len(content[:65_533]) + 2) + content[:65_533] if marker else content
        for marker, content in parts
    )
    return b"\xff\xd8" + b"".join(segments)


def _in_segment(part: Part, random: Random) -> Part:
    marker, content = part
    if marker[1:] in (b"\xc0", b"\xc1", b"\xc2") and len(content) >= 6 and random.random() < 0.7:
        at, width = random.choice(((1, 2), (3, 2), (0, 1), *((i, 1) for i in range(5, len(content)))))
        number = random.choice(NUMBERS) % (1 << 8 * width)
        return marker, content[:at] + number.to_bytes(width, "big") + content[at + width :]
    if marker == b"\xff\xe1" and content[:6] == b"Exif\0\0" and len(content) > 20:
        return marker, content[:6] + _in_tiff(content[6:], random)
    if marker and random.random() < 0.1:
        marker = bytes((0xFF, random.choice((0xC0, 0xC1, 0xC2, 0xC4, 0xC9, 0xDA, 0xDB, 0xDD, 0xE0, 0xEE))))
    return marker, change_bytes(content, random)


# ---- WebP ------------------------------------------------------------------------------------


def split_riff(data: bytes) -> list[Part]:
    """Return the chunks of a WebP."""
    parts, at = [], 12
    while at + 8 <= len(data):
        (length,) = struct.unpack_from("<I", data, at + 4)
        parts.append((data[at : at + 4], data[at + 8 : at + 8 + length]))
        at += 8 + length + length % 2
    return parts


def join_riff(parts: Sequence[Part]) -> bytes:
    """Return a WebP of these chunks, with right lengths."""
    chunks = (
        name + struct.pack("<I", len(content)) + content + bytes(len(content) % 2) for name, content in parts
    )
    body = b"WEBP" + b"".join(chunks)
    return b"RIFF" + struct.pack("<I", len(body)) + body


# ---- TIFF, and the EXIF of the others --------------------------------------------------------


def _in_tiff(data: bytes, random: Random) -> bytes:
    """Change a tag's number, type, count or value most of the time; else any byte."""
    order = "<" if data[:2] == b"II" else ">"
    try:
        (at,) = struct.unpack_from(order + "I", data, 4)
        (count,) = struct.unpack_from(order + "H", data, at)
        row = at + 2 + 12 * random.randrange(max(1, min(count, 40)))
        tag, kind, number, value = struct.unpack_from(order + "HHII", data, row)
    except (struct.error, OverflowError):
        return change_bytes(data, random)
    chosen = random.choice(NUMBERS + _LARGE)
    match random.randrange(8):
        case 0:
            tag = random.choice(
                (254, 256, 257, 258, 259, 262, 266, 273, 274, 277, 278, 279, 284, 317, 320, 322, 338)
            )
        case 1:
            kind = random.choice((1, 2, 3, 4, 5, 6, 7, 8, 9, 11, 12, 13, 16))
        case 2:
            number = chosen
        case 3 | 4 | 5:
            chosen = random.choice(_TIFF_VALUES.get(tag, (chosen,)))
            # A short value is at the begin of its four bytes, in either byte order.
            value = chosen % 65_536 << 16 if kind == 3 and order == ">" else chosen
        case _:
            return change_bytes(data, random)
    packed = struct.pack(order + "HHII", tag, kind, number, value & 0xFFFFFFFF)
    return data[:row] + packed + data[row + 12 :]
