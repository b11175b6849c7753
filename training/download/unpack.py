"""Unpacks untrusted zip and tar files; refuses links, paths outside the folder and too large contents."""

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
from pathlib import Path, PurePosixPath
from typing import IO, NamedTuple

from training.download.fetch import CHUNK, full_disk
from training.errors import DownloadError
from training.progress import bar

# Limit on files and folders of an archive: empty ones cost disk space too. COCO's train2017 has 118,288.
MOST_MEMBERS = 250_000
_Member = tuple[PurePosixPath, IO[bytes] | None]  # path and content; None: a folder
DAMAGE = (
    gzip.BadGzipFile,
    zipfile.BadZipFile,
    tarfile.TarError,
    zlib.error,
    lzma.LZMAError,
    EOFError,
    NotImplementedError,  # unsupported compression
)


class Unpacked(NamedTuple):
    """The number and total size of the files that were unpacked from an archive."""

    files: int
    size: int  # bytes


def unpack(archive: Path, folder: Path, limit: int) -> Unpacked:
    """Unpack a .zip, or a tar with any compression, into a new folder; remove the folder on any error.

    Args:
        folder: the folder to create; an existing one is removed first.
        limit: largest total size of the unpacked files, in bytes.

    Raises:
        DownloadError: the file is damaged or not an archive; the archive contains a link, a device, a path
            outside the folder, more than `limit` bytes or too many files; or the disk is full.
    """
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    try:
        return _unpack(archive, folder, limit)
    except BaseException as error:
        shutil.rmtree(folder, ignore_errors=True)
        if isinstance(error, DAMAGE):
            wrong = _what_is_wrong(archive, error)
            raise DownloadError(f"{archive}: {wrong}; remove it and get it again") from error
        if isinstance(error, OSError):
            raise full_disk(error, folder) from error
        raise


def _unpack(archive: Path, folder: Path, limit: int) -> Unpacked:
    files = size = 0
    members = (_zip_members if archive.suffix == ".zip" else _tar_members)(archive, limit)
    with closing(members), bar(None, "B", f"unpack {archive.name}") as progress:
        for count, (path, contents) in enumerate(members, start=1):
            if count > MOST_MEMBERS:
                raise DownloadError(
                    f"{archive}: holds more than {MOST_MEMBERS:,} files and folders; nothing was kept"
                )
            target = folder / path
            if contents is None:
                target.mkdir(parents=True, exist_ok=True)
                continue
            target.parent.mkdir(parents=True, exist_ok=True)
            with contents as content, target.open("wb") as file:
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
            kind = stat.S_IFMT(info.external_attr >> 16)  # 0: made on a system without file types
            if kind not in (0, stat.S_IFREG, stat.S_IFDIR):
                raise _refused(archive, info.filename, "a link or a device")
            if info.flag_bits & 0x1:
                raise _refused(archive, info.filename, "locked with a password")
            path = _inside(archive, info.filename)
            yield path, None if info.is_dir() else opened.open(info)


def _tar_members(archive: Path, limit: int) -> Generator[_Member]:
    with tarfile.open(archive) as opened:
        for info in opened:
            if not info.isfile() and not info.isdir():
                raise _refused(archive, info.name, "a link or a device")
            path = _inside(archive, info.name)
            yield path, opened.extractfile(info)
        # Read on to the end of the file, where a compressed archive has its checksum.
        behind = 0
        while opened.fileobj is not None and (chunk := opened.fileobj.read(CHUNK)):
            behind += len(chunk)
            if behind > limit + tarfile.RECORDSIZE:
                raise _too_large(archive, limit)


def _inside(archive: Path, name: str) -> PurePosixPath:
    """Return the path of an archive's member; raise DownloadError if the path could lead out of the folder.

    The path is checked by the rules of every operating system, not only by the rules of the current one.
    """
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
