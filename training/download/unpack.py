"""Unpacks zip and tar files that come from a stranger: nothing outside the folder, no links, no bombs."""

import gzip
import lzma
import re
import shutil
import stat
import tarfile
import zipfile
import zlib
from collections.abc import Generator
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import IO

from training.download.fetch import CHUNK, full_disk
from training.errors import DownloadError
from training.progress import bar

# Files and folders of one archive. The largest that download brings, COCO's images to train, has 118,288.
MOST_MEMBERS = 250_000
DAMAGE = (
    gzip.BadGzipFile,
    zipfile.BadZipFile,
    tarfile.TarError,
    zlib.error,
    lzma.LZMAError,
    EOFError,
    NotImplementedError,  # packed in a way that Python does not know
)


@dataclass(frozen=True)
class Unpacked:
    """What came out of an archive."""

    files: int
    size: int  # bytes


@dataclass(frozen=True)
class _Member:
    path: PurePosixPath
    content: IO[bytes] | None  # None: a folder


def unpack(archive: Path, folder: Path, limit: int, *, most_members: int = MOST_MEMBERS) -> Unpacked:
    """Unpack into a folder that is made anew; it is removed again unless all goes well.

    Args:
        archive: .zip, or a tar in any compression.
        folder: what is there already is removed.
        limit: bytes that may come out of it.
        most_members: files and folders that may: empty ones cost no bytes, but entries of the disk.

    Raises:
        DownloadError: it is damaged or no archive, holds a link, a device or a path that leads out, unpacks
            to more bytes or members than the limits; or the disk is full.
    """
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    try:
        return _unpack(archive, folder, limit, most_members)
    except BaseException as error:
        shutil.rmtree(folder, ignore_errors=True)
        if isinstance(error, DAMAGE):
            wrong = _what_is_wrong(archive, error)
            raise DownloadError(f"{archive}: {wrong}; remove it and get it again") from error
        if isinstance(error, OSError):
            raise full_disk(error, folder) from error
        raise


def _unpack(archive: Path, folder: Path, limit: int, most_members: int) -> Unpacked:
    files = size = 0
    members = (_zip_members if archive.suffix == ".zip" else _tar_members)(archive, limit)
    with closing(members), bar(None, "B", f"unpack {archive.name}") as progress:
        for count, member in enumerate(members, start=1):
            if count > most_members:
                raise DownloadError(
                    f"{archive}: holds more than {most_members:,} files and folders; nothing was kept"
                )
            target = folder / member.path
            if member.content is None:
                target.mkdir(parents=True, exist_ok=True)
                continue
            target.parent.mkdir(parents=True, exist_ok=True)
            with member.content as content, target.open("wb") as file:
                while chunk := content.read(CHUNK):
                    size += len(chunk)
                    if size > limit:
                        raise _too_large(archive, limit)
                    file.write(chunk)
                    progress.update(len(chunk))
            files += 1
    return Unpacked(files, size)


def _zip_members(archive: Path, limit: int) -> Generator[_Member]:
    with zipfile.ZipFile(archive) as opened:
        infos = opened.infolist()
        if sum(info.file_size for info in infos) > limit:
            raise _too_large(archive, limit)
        for info in infos:
            kind = stat.S_IFMT(info.external_attr >> 16)  # 0: made on a system without kinds
            if kind not in (0, stat.S_IFREG, stat.S_IFDIR):
                raise _refused(archive, info.filename, "a link or a device")
            if info.flag_bits & 0x1:
                raise _refused(archive, info.filename, "locked with a password")
            path = _inside(archive, info.filename)
            yield _Member(path, None if info.is_dir() else opened.open(info))


def _tar_members(archive: Path, limit: int) -> Generator[_Member]:
    with tarfile.open(archive) as opened:
        for info in opened:
            if not info.isfile() and not info.isdir():
                raise _refused(archive, info.name, "a link or a device")
            path = _inside(archive, info.name)
            yield _Member(path, opened.extractfile(info))
        # The checksum of a compressed archive stands behind the end of the tar, and its padding.
        behind = 0
        while opened.fileobj is not None and (chunk := opened.fileobj.read(CHUNK)):
            behind += len(chunk)
            if behind > limit + tarfile.RECORDSIZE:
                raise _too_large(archive, limit)


def _inside(archive: Path, name: str) -> PurePosixPath:
    """Return a member's path, which cannot lead out of the folder on any system."""
    path = PurePosixPath(name)
    if path.is_absolute() or ".." in path.parts or re.search(r"[\\\0]|^[A-Za-z]:", name):
        raise _refused(archive, name, "a path that leads out of the folder")
    return path


def _refused(archive: Path, name: str, what: str) -> DownloadError:
    return DownloadError(f"{archive}: {name!r} is {what}; nothing was unpacked")


def _too_large(archive: Path, limit: int) -> DownloadError:
    return DownloadError(
        f"{archive}: unpacks to more than the {limit:,} bytes that are expected; nothing was kept"
    )


def _what_is_wrong(archive: Path, error: BaseException) -> str:
    with archive.open("rb") as file:
        start = file.read(64).lstrip().lower()
    if start.startswith((b"<!doctype", b"<html", b"<?xml")):
        return "a web page and no archive"
    return f"damaged, or no archive ({error})"
