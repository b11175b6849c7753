"""Parsers of single values for argparse; an error message says what the user should write."""

import argparse
from collections.abc import Callable


def size(text: str) -> tuple[int, int]:
    """Return (height, width) of a size such as `640` or `384x512`."""
    try:
        parts = [int(part) for part in text.lower().split("x")]
    except ValueError:
        parts = []
    if len(parts) not in (1, 2):
        raise argparse.ArgumentTypeError(f"{text!r} is not a size; write 640 or HEIGHTxWIDTH")
    return parts[0], parts[-1]


def _whole(lowest: int) -> Callable[[str], int]:
    def parse(text: str) -> int:
        if not text.isascii() or not text.isdigit() or int(text) < lowest:
            raise argparse.ArgumentTypeError(f"{text!r} is not a whole number from {lowest}")
        return int(text)

    return parse


positive, from_zero = _whole(1), _whole(0)


def from_0_to_1(text: str) -> float:
    """Return a number from 0 to 1."""
    try:
        number = float(text)
    except ValueError:
        number = -1.0
    if not 0 <= number <= 1:  # written so that NaN fails too
        raise argparse.ArgumentTypeError(f"{text!r} is not a number from 0 to 1")
    return number


def in_words(value: object) -> str:
    """Return a default value as a user would write it on the command line."""
    match value:
        case None:
            return "auto"
        case bool():
            return "on" if value else "off"
        case float():
            return f"{value:g}"
        case tuple():
            return "x".join(map(str, value))
        case _:
            return str(value)
