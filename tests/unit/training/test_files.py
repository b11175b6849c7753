"""Files are written completely or not at all; sha256 of files."""

import hashlib
import os
from pathlib import Path

import pytest

from training.files import CHUNK, flush, sha256_of, write_atomically, written_beside


@pytest.fixture
def path(tmp_path):
    return tmp_path / "report.md"


@pytest.mark.parametrize("content", ["", "größe\n", b"", b"\x00\xff"])
@pytest.mark.parametrize("before", [None, b"before"])
def test_a_file_holds_what_was_written_and_nothing_is_left_beside_it(path, content, before):
    if before is not None:
        path.write_bytes(before)
    write_atomically(path, content)
    assert path.read_bytes() == (content.encode() if isinstance(content, str) else content)
    assert list(path.parent.iterdir()) == [path]


def test_a_reader_sees_the_old_file_until_the_new_one_is_whole(path):
    path.write_text("before")
    with written_beside(path) as partial:
        partial.write_text("half")
        assert path.read_text() == "before"
        assert partial.parent == path.parent  # a rename is all or nothing within one disk alone
        partial.write_text("after")
    assert path.read_text() == "after"


@pytest.mark.parametrize("error", [OSError("the disk is full"), KeyboardInterrupt()])
def test_a_failure_leaves_the_file_as_before_and_nothing_beside_it(path, error):
    path.write_text("before")
    with pytest.raises(type(error)), written_beside(path) as partial:  # noqa: PT012  the failure of a block
        partial.write_text("half")
        raise error
    assert path.read_text() == "before"
    assert list(path.parent.iterdir()) == [path]


def test_what_nobody_wrote_does_not_take_the_place_of_a_file(path):
    path.write_text("before")
    with pytest.raises(FileNotFoundError, match=r"\.report\.md\.partial"), written_beside(path):
        pass
    assert path.read_text() == "before"


def test_a_name_of_every_length_that_a_system_takes_can_be_written(tmp_path):
    for name in ("x" * 246, "x" * 247, "x" * 255, "ü" * 127):  # the temporary name has 9 bytes more
        write_atomically(tmp_path / name, name)
        assert (tmp_path / name).read_text(encoding="utf-8") == name
    assert len(list(tmp_path.iterdir())) == 4


def test_a_folder_that_is_not_there_is_named(path):
    with pytest.raises(FileNotFoundError, match="nowhere"):
        write_atomically(path.parent / "nowhere" / "report.md", "x")


def test_the_content_is_on_the_disk_before_the_name_is(path, monkeypatch):
    order = []
    fsync, replace = os.fsync, Path.replace
    monkeypatch.setattr(os, "fsync", lambda number: (order.append("flushed"), fsync(number)))
    monkeypatch.setattr(Path, "replace", lambda self, to: (order.append("named"), replace(self, to))[1])
    write_atomically(path, "x")
    assert order == ["flushed", "named"]


def test_a_file_that_cannot_be_flushed_is_named(path):
    with pytest.raises(FileNotFoundError, match=r"report\.md"):
        flush(path)


@pytest.mark.parametrize(
    ("size", "parts"),
    [(0, []), (1, [1]), (CHUNK, [CHUNK]), (CHUNK + 1, [CHUNK, 1])],
)
def test_a_sum_is_of_every_byte_and_tells_how_far_it_is(path, size, parts):
    path.write_bytes(b"\x07" * size)
    told = []
    assert sha256_of(path, told.append) == sha256_of(path) == hashlib.sha256(b"\x07" * size).hexdigest()
    assert told == parts
