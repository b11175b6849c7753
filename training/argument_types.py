"""Forms of what is written on the command line: argparse's `type=`, with errors that say what to write."""

import argparse
from typing import Any


class Split(argparse.Action):
    """The name of a split; `split_flags` are those that were written, since a default is nobody's wish."""

    def __call__(
        self,
        parser: argparse.ArgumentParser,
        namespace: argparse.Namespace,
        values: Any,
        flag: str | None = None,
    ) -> None:
        """Keep both."""
        setattr(namespace, self.dest, values)
        namespace.split_flags = (*split_flags(namespace), flag)


def split_flags(args: argparse.Namespace) -> tuple[str, ...]:
    """Of those that name a split, the flags that were written."""
    return getattr(args, "split_flags", ())


def size(text: str) -> tuple[int, int]:
    """640 or 384x512, as (height, width)."""
    try:
        parts = [int(part) for part in text.lower().split("x")]
    except ValueError:
        parts = []
    if len(parts) not in (1, 2):
        raise argparse.ArgumentTypeError(f"{text!r} is not a size; write 640 or HEIGHTxWIDTH")
    return parts[0], parts[-1]


def positive(text: str) -> int:
    """A whole number from 1."""
    if not text.isascii() or not text.isdigit() or int(text) < 1:
        raise argparse.ArgumentTypeError(f"{text!r} is not a whole number from 1")
    return int(text)


def from_zero(text: str) -> int:
    """A whole number from 0."""
    if not text.isascii() or not text.isdigit():
        raise argparse.ArgumentTypeError(f"{text!r} is not a whole number from 0")
    return int(text)


def from_0_to_1(text: str) -> float:
    """A share or a probability."""
    try:
        number = float(text)
    except ValueError:
        number = -1.0
    if not 0 <= number <= 1:  # written so that NaN fails too
        raise argparse.ArgumentTypeError(f"{text!r} is not a number from 0 to 1")
    return number
