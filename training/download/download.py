"""Downloads a data set into a folder: checks the free space, downloads, checks and unpacks the archives."""

import json
import logging
import os
import shlex
import shutil
from dataclasses import dataclass
from pathlib import Path

from training.download.catalogue import RECORDED, Archive, Benchmark
from training.download.fetch import USUAL_PATIENCE, Patience, fetch, forget, full_disk, length
from training.download.unpack import unpack
from training.errors import DownloadError
from training.files import sha256_of, write_atomically
from training.progress import bar

RECORDS = ".download"  # subfolder for records of unpacked archives, and for unpacking

log = logging.getLogger(__name__)


@dataclass(frozen=True, kw_only=True)
class DownloadOptions:
    """The server to download from, and whether to keep the archives."""

    mirror: str | None = None  # download NAME.zip from MIRROR/NAME.zip; None: from the data set's owner
    remove_archives: bool = False  # after unpacking
    patience: Patience = USUAL_PATIENCE


def download(benchmark: Benchmark, folder: Path, options: DownloadOptions) -> None:
    """Download and unpack a data set into a folder.

    After an interruption, the same call resumes. Archives that are already unpacked are skipped. An archive
    that the user has put into the folder under its own name is not downloaded.

    Raises:
        DownloadError: an archive cannot be downloaded, is not the expected file, does not fit on the disk,
            or has to be downloaded by a person; the message says what to do.
    """
    log.info(f"{benchmark.what}\n{benchmark.terms}\nMore: {benchmark.home}")
    try:
        (folder / RECORDS).mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise DownloadError(f"{folder}: cannot be made or written to ({error.strerror})") from error
    wanted = [archive for archive in benchmark.archives if not _is_there(archive, folder)]
    if wanted:
        check_space(shutil.disk_usage(folder).free, needed_space(wanted, folder, options), folder)
    by_hand = [archive for archive in wanted if not _bring(archive, folder, options)]
    if by_hand:
        log.info(benchmark.manual.format(folder=folder))
        names = " and ".join(archive.name for archive in by_hand)
        raise DownloadError(f"{names}: download by hand, as said above, then give the same command again")
    name, data = benchmark.name, shlex.quote(str(folder))
    log.info(
        f"complete: {folder}\n"
        f"train on it:  python -m training train --recipe {name} --data {data} --run runs/{name}"
    )


def needed_space(wanted: list[Archive], folder: Path, options: DownloadOptions) -> int:
    """Return how many free bytes are needed if each archive in `wanted` unpacks to its unpacked_limit."""
    held = most = 0
    for archive in wanted:
        here = length(folder / archive.name)
        held += 0 if here else max(archive.size - length(_partial(folder, archive)), 0)
        held += archive.unpacked_limit
        most = max(most, held)
        if options.remove_archives:
            held -= here or archive.size
    return most


def check_space(free: int, needed: int, folder: Path) -> None:
    """Raise DownloadError if `free`, the free bytes on the folder's disk, is less than `needed`."""
    if free < needed:
        raise DownloadError(
            f"{folder}: {in_bytes(free)} are free on this disk, up to {in_bytes(needed)} are needed; "
            "make space, choose another disk with --to, or give --remove-archives"
        )


def in_bytes(count: int) -> str:
    """Return a number of bytes as text with a unit, such as 19.3 GB."""
    for unit, of in (("TB", 10**12), ("GB", 10**9), ("MB", 10**6), ("kB", 10**3)):
        if count >= of:
            return f"{count / of:.1f} {unit}"
    return f"{count} B"


def _is_there(archive: Archive, folder: Path) -> bool:
    """Return whether an archive is already unpacked.

    Files that the user has unpacked count too, unless the folder also holds the archive or a partial
    download of it.
    """
    if not all((folder / path).exists() for path in archive.holds):
        return False
    record = _record(folder, archive)
    if record.is_file():
        try:
            unpacked = json.loads(record.read_text(encoding="utf-8"))["sha256"]
        except (ValueError, KeyError, TypeError):
            return False  # incomplete record: unpack again
        if archive.sha256 not in (None, unpacked):
            return False  # from another version of the archive
        log.info(f"{archive.name}: there already")
        return True
    if (folder / archive.name).exists() or _partial(folder, archive).exists():
        return False
    log.info(f"{archive.name}: {' and '.join(archive.holds)} there, not by this command: left unchecked")
    return True


def _bring(archive: Archive, folder: Path, options: DownloadOptions) -> bool:
    """Download an archive if it is missing, then check and unpack it.

    Return False if a person has to download it.
    """
    path, partial = folder / archive.name, _partial(folder, archive)
    if path.is_file():
        log.info(f"{archive.name}: found in {folder}")
        sum_got = _check(archive, path)
    else:
        url = archive.url if options.mirror is None else f"{options.mirror.rstrip('/')}/{archive.name}"
        if url is None:
            return False
        log.info(f"{archive.name}: {in_bytes(archive.size)} from {url}")
        fetch(url, partial, archive, patience=options.patience)
        try:
            sum_got = _check(archive, partial)
        except DownloadError:
            forget(partial)
            raise
        partial.replace(path)
    forget(partial)
    _unpack_into(archive, path, folder, sum_got)
    if options.remove_archives:
        path.unlink()
    return True


def _check(archive: Archive, path: Path) -> str:
    """Return the file's SHA-256; raise DownloadError if the SHA-256 or the size is not the expected one."""
    if archive.exact_size not in (None, length(path)):
        raise DownloadError(
            f"{path}: has {length(path):,} bytes where {archive.size:,} are expected; get it again"
        )
    with bar(length(path), "B", f"check {path.name}") as progress:
        got = sha256_of(path, progress.update)
    if archive.sha256 is None:
        log.info(f"{archive.name}: no checksum is known to compare with; its SHA-256 is {got}")
    elif got != archive.sha256:
        raise DownloadError(
            f"{path}: its SHA-256 is {got}, not {archive.sha256} ({RECORDED}); "
            "nothing was unpacked: get it again, or from elsewhere with --from"
        )
    else:
        log.info(f"{archive.name}: SHA-256 {got}, as {RECORDED}")
    return got


def _unpack_into(archive: Archive, path: Path, folder: Path, sum_got: str) -> None:
    """Unpack an archive via a temporary folder into `folder`, and record the archive's SHA-256."""
    beside = folder / RECORDS / f"{archive.name}.unpacking"
    unpacked = unpack(path, beside, archive.unpacked_limit)
    missing = [held for held in archive.holds if not (beside / held).exists()]
    if missing:
        shutil.rmtree(beside)
        raise DownloadError(f"{path}: holds no {' and no '.join(missing)}; it is another archive")
    try:
        _move(beside, folder)
    except OSError as error:
        raise full_disk(error, folder) from error
    shutil.rmtree(beside)
    log.info(f"{archive.name}: {unpacked.files:,} files, {in_bytes(unpacked.size)} unpacked")
    facts = {"sha256": sum_got, "files": unpacked.files, "bytes": unpacked.size}
    write_atomically(_record(folder, archive), json.dumps(facts) + "\n")


def _move(source: Path, target: Path) -> None:
    """Move the contents of a folder into another; merge with existing folders, and replace existing files."""
    for entry in os.scandir(source):
        to = target / entry.name
        if entry.is_dir(follow_symlinks=False) and to.is_dir():
            _move(Path(entry.path), to)
        else:
            Path(entry.path).replace(to)


def _partial(folder: Path, archive: Archive) -> Path:
    return folder / f"{archive.name}.partial"


def _record(folder: Path, archive: Archive) -> Path:
    return folder / RECORDS / f"{archive.name}.json"
