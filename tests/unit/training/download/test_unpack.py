"""Valid archives are unpacked completely, and malicious or damaged ones leave nothing."""

import gzip
import io
import struct
import tarfile
import zipfile

import pytest

from tests.unit.training.download.archives import add_to_tar, write_tar, write_zip, write_zip_link
from training.download.unpack import Unpacked, unpack
from training.errors import DownloadError

FILES = {"a/one.txt": b"1" * 1000, "a/b/two.txt": b"22", "a/empty": b""}
SIZE = 1002
WRITERS = {
    "x.zip": write_zip,
    "x.tar": lambda path, files: write_tar(path, files, "w:"),
    "x.tar.gz": lambda path, files: write_tar(path, files, "w:gz"),
    "x.tar.xz": lambda path, files: write_tar(path, files, "w:xz"),
}
every_kind = pytest.mark.parametrize("kind", WRITERS)


def contents(folder):
    return {str(path.relative_to(folder)): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def refusal(archive, folder, limit=10_000):
    with pytest.raises(DownloadError) as refused:
        unpack(archive, folder, limit)
    assert not folder.exists()
    assert {path.name for path in folder.parent.iterdir()} <= {archive.name}
    return str(refused.value)


@every_kind
def test_files_come_out_as_they_went_in(tmp_path, kind):
    WRITERS[kind](tmp_path / kind, {"a/": b"", **FILES, "./a/dotted": b"."})
    assert unpack(tmp_path / kind, tmp_path / "out", 10_000) == Unpacked(4, SIZE + 1)
    assert contents(tmp_path / "out") == {**FILES, "a/dotted": b"."}


@every_kind
def test_an_empty_archive_gives_an_empty_folder(tmp_path, kind):
    WRITERS[kind](tmp_path / kind, {})
    assert unpack(tmp_path / kind, tmp_path / "out", 0) == Unpacked(0, 0)


def test_what_an_earlier_attempt_left_is_removed(tmp_path):
    (tmp_path / "out" / "a").mkdir(parents=True)
    (tmp_path / "out" / "a" / "left.txt").write_text("left")
    write_zip(tmp_path / "x.zip", FILES)
    unpack(tmp_path / "x.zip", tmp_path / "out", SIZE)
    assert contents(tmp_path / "out") == FILES


@every_kind
def test_as_much_as_the_limit_may_come_out_and_no_more(tmp_path, kind):
    WRITERS[kind](tmp_path / kind, FILES)
    assert unpack(tmp_path / kind, tmp_path / "most", SIZE).size == SIZE
    (tmp_path / "most").rename(tmp_path / kind.replace("x", "kept"))
    with pytest.raises(DownloadError, match="unpacks to more than the 1,001 bytes"):
        unpack(tmp_path / kind, tmp_path / "out", SIZE - 1)
    assert not (tmp_path / "out").exists()


@every_kind
def test_as_many_files_and_folders_as_may_come_out_and_no_more(tmp_path, kind, monkeypatch):
    WRITERS[kind](tmp_path / kind, {"a/": b"", **FILES})
    monkeypatch.setattr("training.download.unpack.MOST_MEMBERS", 4)
    assert unpack(tmp_path / kind, tmp_path / "most", SIZE).files == 3
    monkeypatch.setattr("training.download.unpack.MOST_MEMBERS", 3)
    with pytest.raises(DownloadError, match="holds more than 3 files and folders; nothing was kept"):
        unpack(tmp_path / kind, tmp_path / "out", SIZE)
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize("kind", ["x.zip", "x.tar.gz"])
def test_a_bomb_is_refused_without_being_let_off(tmp_path, kind):
    WRITERS[kind](tmp_path / kind, {"bomb": bytes(20_000_000)})
    assert (tmp_path / kind).stat().st_size < 100_000
    assert "unpacks to more than" in refusal(tmp_path / kind, tmp_path / "out", 1_000_000)


def test_a_zip_that_lies_about_its_sizes_is_refused(tmp_path):
    content = bytearray(write_zip(tmp_path / "x.zip", {"bomb": bytes(50_000)}))
    real = struct.pack("<I", 50_000)
    assert content.count(real) == 2  # before the file, and in the list at the end
    (tmp_path / "x.zip").write_bytes(content.replace(real, struct.pack("<I", 10)))
    assert "damaged" in refusal(tmp_path / "x.zip", tmp_path / "out", 100)


@every_kind
@pytest.mark.parametrize(
    "name",
    [
        *("../out.txt", "a/../../out.txt", "/tmp/out.txt", "//tmp/out.txt", "a/.."),
        *("..\\out.txt", "a\\..\\..\\out.txt", "C:/out.txt", "c:out.txt"),
    ],
)
def test_a_path_that_leads_out_is_refused_and_what_came_before_it_removed(tmp_path, kind, name):
    WRITERS[kind](tmp_path / kind, {"good.txt": b"good", name: b"bad"})
    message = refusal(tmp_path / kind, tmp_path / "out")
    assert "a path that leads out of the folder; nothing was unpacked" in message


@pytest.mark.parametrize(
    ("kind", "target"),
    [
        pytest.param(tarfile.SYMTYPE, "/etc/passwd", id="symlink out"),
        pytest.param(tarfile.SYMTYPE, "good.txt", id="symlink within"),
        pytest.param(tarfile.LNKTYPE, "../x.tar.gz", id="hard link out"),
        pytest.param(tarfile.FIFOTYPE, "", id="pipe"),
        pytest.param(tarfile.CHRTYPE, "", id="device"),
    ],
)
def test_links_and_devices_in_a_tar_are_refused(tmp_path, kind, target):
    with tarfile.open(tmp_path / "x.tar.gz", "w:gz") as archive:
        add_to_tar(archive, "a/", tarfile.DIRTYPE)
        add_to_tar(archive, "a/link", kind, target)
    assert "'a/link' is a link or a device" in refusal(tmp_path / "x.tar.gz", tmp_path / "out")


def test_a_folder_that_is_a_link_and_a_file_behind_it_are_refused(tmp_path):
    (tmp_path / "elsewhere").mkdir()
    with tarfile.open(tmp_path / "x.tar", "w") as archive:
        add_to_tar(archive, "a", tarfile.SYMTYPE, str(tmp_path / "elsewhere"))
        add_to_tar(archive, "a/file", tarfile.REGTYPE)
    with pytest.raises(DownloadError, match="a link or a device"):
        unpack(tmp_path / "x.tar", tmp_path / "out", 100)
    assert list((tmp_path / "elsewhere").iterdir()) == []


def test_a_link_in_a_zip_is_refused(tmp_path):
    write_zip_link(tmp_path / "x.zip", "a/link", "/etc/passwd")
    assert "'a/link' is a link or a device" in refusal(tmp_path / "x.zip", tmp_path / "out")


def test_a_locked_zip_is_refused(tmp_path):
    content = bytearray(write_zip(tmp_path / "x.zip", {"a": b"1"}))
    for mark, at in ((b"PK\x03\x04", 6), (b"PK\x01\x02", 8)):
        content[content.index(mark) + at] |= 1
    (tmp_path / "x.zip").write_bytes(content)
    assert "locked with a password" in refusal(tmp_path / "x.zip", tmp_path / "out")


@every_kind
@pytest.mark.parametrize("share", [0, 0.01, 0.5])
def test_part_of_an_archive_is_refused(tmp_path, kind, share):
    content = WRITERS[kind](tmp_path / kind, {"a": b"1" * 20_000})
    (tmp_path / kind).write_bytes(content[: round(len(content) * share)])
    assert "damaged, or no archive" in refusal(tmp_path / kind, tmp_path / "out")


def test_a_flipped_bit_is_noticed_by_the_zip_s_own_sums(tmp_path):
    with zipfile.ZipFile(tmp_path / "x.zip", "w") as archive:  # stored: the bytes are the file's
        archive.writestr("a", b"0123456789" * 10)
    content = (tmp_path / "x.zip").read_bytes()
    (tmp_path / "x.zip").write_bytes(content.replace(b"01234567890", b"01234567891", 1))
    assert "Bad CRC-32" in refusal(tmp_path / "x.zip", tmp_path / "out")


def test_a_flipped_bit_is_noticed_by_the_sum_behind_a_compressed_tar(tmp_path):
    with tarfile.open(tmp_path / "x.tar.gz", "w:gz", compresslevel=0) as archive:  # the bytes are the file's
        member = tarfile.TarInfo("a")
        member.size = 100
        archive.addfile(member, io.BytesIO(b"0123456789" * 10))
    content = (tmp_path / "x.tar.gz").read_bytes()
    (tmp_path / "x.tar.gz").write_bytes(content.replace(b"01234567890", b"01234567891", 1))
    assert "CRC check failed" in refusal(tmp_path / "x.tar.gz", tmp_path / "out")


@pytest.mark.parametrize("behind", [0, 1])
def test_what_stands_behind_a_tar_is_read_to_its_sum_and_no_further_than_the_limit(tmp_path, behind):
    written = io.BytesIO()
    with tarfile.open(fileobj=written, mode="w") as archive:  # one record, of which the end is padding
        archive.addfile(tarfile.TarInfo("a"))
    (tmp_path / "x.tar.gz").write_bytes(gzip.compress(written.getvalue() + bytes(20_000_000 * behind)))
    if behind:
        assert "unpacks to more than the" in refusal(tmp_path / "x.tar.gz", tmp_path / "out")
    else:
        assert unpack(tmp_path / "x.tar.gz", tmp_path / "out", 0).files == 1


@every_kind
@pytest.mark.parametrize("page", [b"<!DOCTYPE html><html>", b"\n <html>"])
def test_a_web_page_under_an_archive_s_name_is_called_that(tmp_path, kind, page):
    (tmp_path / kind).write_bytes(page + b"x" * 600)
    assert "a web page and no archive; remove it and get it again" in refusal(
        tmp_path / kind, tmp_path / "out"
    )
