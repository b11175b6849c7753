"""Slots in shared memory are acquired and released, and none remains at the end."""

import os
import subprocess
import sys

import numpy as np
import pytest

from service.backends.triton.memory import ImageSlots, remove_leftovers

IMAGES = np.arange(48, dtype=np.uint8).reshape(1, 4, 4, 3)


@pytest.fixture
def slots(tmp_path):
    made = ImageSlots(IMAGES.nbytes, 2, tmp_path)
    yield made
    made.close()


def test_an_image_lies_where_the_server_is_told(slots, tmp_path):
    with slots.hold(IMAGES) as offset:
        stored = (tmp_path / slots.name).read_bytes()
        assert stored[offset : offset + 48] == IMAGES.tobytes()
    assert slots.name.startswith(f"sparsight-{os.getpid()}-")


def test_every_slot_is_another_and_when_none_is_left_nothing_is_lent(slots):
    with slots.hold(IMAGES) as first, slots.hold(IMAGES) as second:
        assert {first, second} == {0, 48}
        with slots.hold(IMAGES) as third:
            assert third is None
    with slots.hold(IMAGES) as again:
        assert again is not None


def test_a_failure_gives_the_slot_back(slots):
    for _ in range(5):
        with pytest.raises(ValueError, match="boom"), slots.hold(IMAGES):
            raise ValueError("boom")
    with slots.hold(IMAGES) as offset:
        assert offset is not None


def test_nothing_is_left_after_the_end(tmp_path):
    ImageSlots(10, 3, tmp_path).close()
    assert list(tmp_path.iterdir()) == []


def test_memory_that_is_not_there_is_said_at_once_and_leaves_nothing(tmp_path):
    with pytest.raises(OSError, match=r"space|large"):
        ImageSlots(1 << 50, 2, tmp_path)
    assert list(tmp_path.iterdir()) == []


def test_what_a_killed_process_left_is_removed_and_what_a_living_one_uses_is_not(slots, tmp_path):
    script = (
        "import os, signal, sys\nfrom pathlib import Path\n"
        "from service.backends.triton.memory import ImageSlots\n"
        "kept = ImageSlots(10, 1, Path(sys.argv[1])); os.kill(os.getpid(), signal.SIGKILL)"
    )
    subprocess.run([sys.executable, "-c", script, tmp_path], check=False)
    (tmp_path / "sparsight-triton-1f2e").write_text("a server's own memory, not ours")
    (left,) = {path.name for path in tmp_path.glob("sparsight-[0-9]*")} - {slots.name}
    assert remove_leftovers(tmp_path) == [left]
    assert {path.name for path in tmp_path.iterdir()} == {slots.name, "sparsight-triton-1f2e"}
