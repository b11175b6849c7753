"""A target with known defects, to test that a fuzzing process notices each of them and goes on."""

import os
import time
from collections.abc import Sequence
from pathlib import Path
from random import Random

from tests.fuzz.promises import BrokenPromise, Outcome

LARGEST = 16
MEMORY_MB = 64
SEEDS = {"accepted": b"A", "refused": b"R"}
_DEFECTS = b"CXPWSM"


def prepare() -> None:
    """Do nothing."""


def mutate(data: bytes, random: Random, seeds: Sequence[bytes], largest: int) -> bytes:
    """Return an input that is accepted or refused; one in fifty shows a defect."""
    del data, largest
    return bytes([random.choice(_DEFECTS)]) if random.random() < 0.02 else random.choice(seeds)


def check(data: bytes) -> Outcome:
    """Do what the first byte says."""
    match data[:1]:
        case b"C":
            os.abort()
        case b"X":
            raise LookupError("not documented")
        case b"P":
            raise BrokenPromise("planted", "as planned")
        case b"W":
            Path("written").write_bytes(b"")
        case b"M":
            bytearray(2 * MEMORY_MB << 20)[::4096] = bytes(2 * MEMORY_MB << 8)
        case b"S":
            end_s = time.process_time() + 2.1
            while time.process_time() < end_s:
                pass
    return "refused" if data[:1] == b"R" else "accepted"
