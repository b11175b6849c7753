"""Check image files before OpenCV or Pillow reads them, for contents that those would not handle safely.

Identical copies of this module are beside the copies of image_decoding. The module imports no other module of
its package.
"""

import mmap
import re
import struct
import sys

_NEEDED = {b"IHDR", b"PLTE", b"tRNS", b"eXIf", b"IDAT", b"IEND"}  # chunks of a PNG on which the pixels depend
_MOST_CHUNKS = 65_536
_COPIES = 8  # copies of the pixels: two for each of the few threads that decode at once
_NO_RESERVE = 0x4000  # MAP_NORESERVE: only the limit of the process counts, not the machine's free memory
_BLOCK = re.compile(b"[!,;]")  # how an extension, a frame and the end of a GIF begin
_MOST_BLOCKS = 200_000  # blocks to read at most: 50 MB in blocks of the usual size
_SAMPLES = {2: 3, 5: 4, 6: 3, 8: 3}  # values of a pixel that the colours of a TIFF need; all others need 1


def plain_png(data: bytes) -> bytes:
    """Return a PNG with only the chunks that its pixels need; from an animation, keep the default image.

    OpenCV 5.0 reads the frames of an animation even if the caller asks only for the image. Damaged frames
    crash OpenCV, and small frames leave other pixels with old contents of the memory. OpenCV also allocates
    memory for a chunk before it reads the chunk.

    Raises:
        ValueError: a chunk is cut short, or there are very many chunks.
    """
    kept, at = [data[:8]], 8
    for _ in range(_MOST_CHUNKS):
        if at + 12 > len(data):
            break
        name, end = data[at + 4 : at + 8], at + 12 + struct.unpack_from(">I", data, at)[0]
        if end > len(data):
            raise ValueError("a chunk is cut short")
        if name in _NEEDED:
            kept.append(data[at:end])
        at = end
        if name == b"IEND":
            break
    else:
        raise ValueError("too many chunks")
    return b"".join(kept)


def webp_size(data: bytes) -> tuple[int, int]:
    """Return the width and height that the header of a WebP announces.

    Pillow allocates memory for all pixels when it opens a file, so the size must be checked before.

    Raises:
        ValueError: the file has no such header.
        struct.error: the header is cut short.
    """
    match data[12:16]:
        case b"VP8X":
            width, height = struct.unpack_from("<I", data, 24)[0], struct.unpack_from("<I", data, 26)[0] >> 8
            return (width & 0xFFFFFF) + 1, height + 1
        case b"VP8L":
            (packed,) = struct.unpack_from("<I", data, 21)
            return (packed & 0x3FFF) + 1, (packed >> 14 & 0x3FFF) + 1
        case b"VP8 ":
            width, height = struct.unpack_from("<HH", data, 26)
            return width & 0x3FFF, height & 0x3FFF
        case _:
            raise ValueError("no header of a WebP")


def check_samples(colours: int, samples: int) -> None:
    """Check that each pixel of a TIFF has as many values as its colours need.

    If a pixel has fewer values, OpenCV leaves pixels with old contents of the memory.

    Raises:
        ValueError: the pixels have too few values.
    """
    if samples < _SAMPLES.get(colours, 1):
        raise ValueError("too few values for each pixel")


def check_memory(pixels: int, value_bytes: int) -> None:
    """Raise MemoryError if the memory limit of this process leaves too little for decoding an image.

    If OpenCV gets no memory, it crashes, or it reports the image as damaged.
    """
    if sys.platform == "linux":
        wanted = _COPIES * 3 * pixels * value_bytes
        try:
            mmap.mmap(-1, max(1, wanted), mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS | _NO_RESERVE).close()
        except OSError as error:
            raise MemoryError(f"there is no room for {wanted} bytes") from error


def pixels_of_tile(width: int | None, height: int | None) -> int:
    """Return how many pixels OpenCV must hold in memory for one tile of a TIFF; 0 if the file has no tiles.

    Raises:
        ValueError: the file gives only one side of its tiles; OpenCV would then use another value for the
            missing side.
    """
    if (width is None) != (height is None):
        raise ValueError("a tile with one side")
    return (width or 0) * (height or 0)


def gif_size(data: bytes) -> tuple[int, int]:
    """Return the width and height of a GIF, enlarged if its first frame reaches beyond the image.

    Pillow allocates memory for all pixels when it opens the file, so the size must be checked before.

    Raises:
        ValueError: there are very many blocks.
        struct.error: the header is cut short.
    """
    sides = [struct.unpack_from("<HH", data, 6), *_ends_of_frames(data)[:1]]
    return max(width for width, _ in sides), max(height for _, height in sides)


def has_frames(gif: bytes) -> bool:
    """Return whether a GIF has more than one frame; the search ends at damaged data.

    Pillow would allocate memory for every frame that it counts, and a frame can be larger than the image.
    """
    return len(_ends_of_frames(gif)) > 1


def _ends_of_frames(gif: bytes) -> list[tuple[int, int]]:
    """Return the right and lower end of the first frame, and of the second one, if there is one."""
    ends = list[tuple[int, int]]()
    at, inside = 13 + (_colours_bytes(gif[10]) if len(gif) > 10 else 0), False
    for _ in range(_MOST_BLOCKS):
        if inside and at < len(gif):
            inside = gif[at] > 0
            at += 1 + gif[at]
            continue
        begin = _BLOCK.search(gif, at)  # Pillow also skips bytes between blocks
        if len(ends) > 1 or begin is None or begin[0] == b";" or begin.end() + 9 > len(gif):
            return ends
        at, inside = begin.end() + 1, True
        if begin[0] == b",":
            left, top, width, height, flags = struct.unpack_from("<4HB", gif, at - 1)
            ends.append((left + width, top + height))
            at += 9 + _colours_bytes(flags)
    raise ValueError("too many blocks")


def _colours_bytes(flags: int) -> int:
    return 3 << (flags & 7) + 1 if flags & 0x80 else 0
