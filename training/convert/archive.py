"""Reads the zip file that torch.save writes: one pickle, and one uncompressed entry for each storage."""

import hashlib
import os
import sys
import zipfile
from collections.abc import Iterator
from contextlib import contextmanager
from io import BufferedReader
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from training.convert.pickle_reader import read_pickle
from training.convert.records import StoredTensor, plain_name, shown
from training.errors import CheckpointError

PICKLE = "data.pkl"
DATA = "data/"  # folder of storages, one entry each
PICKLE_LIMIT = 16 << 20  # bytes; the largest known checkpoint, with its optimizer, has under two million
ENTRIES_LIMIT = 100_000
BROKEN = (zipfile.BadZipFile, NotImplementedError, RuntimeError, EOFError, OSError, ValueError, KeyError)


@contextmanager
def open_archive(path: Path) -> Iterator["Archive"]:
    """Open a checkpoint file, and yield it as an Archive.

    The sizes that the zip declares are checked before any entry is read.

    Raises:
        CheckpointError: the file is missing, truncated or not a zip of torch.save; the message names the
            file.
    """
    if not path.is_file():
        raise CheckpointError(f"no file at {path}")
    try:
        file = path.open("rb")
    except OSError as error:
        raise CheckpointError(f"{path} cannot be read: {error}") from error
    with file:
        try:
            opened = zipfile.ZipFile(file)
        except BROKEN as error:
            raise CheckpointError(
                f"{path} is no zip that torch.save (1.6 or newer) writes, or is cut short: {error}"
            ) from error
        with opened:
            yield Archive(path, file, opened)


class Archive:
    """An open checkpoint file; all methods raise CheckpointError, which names the file, if it is damaged."""

    def __init__(self, path: Path, file: BufferedReader, opened: zipfile.ZipFile) -> None:
        self.path = path
        self._file = file
        self._zip = opened
        self._root = self._check_entries()

    def sha256(self) -> str:
        """Return the SHA-256 of the open file, even if another file is at its path by now."""
        self._file.seek(0)
        return hashlib.file_digest(self._file, "sha256").hexdigest()

    def contents(self) -> Any:
        """Return the saved object, as plain values and records."""
        data = self._read(PICKLE)
        folder = self._root + DATA
        entries = [entry for entry in self._zip.infolist() if entry.filename.startswith(folder)]
        try:
            return read_pickle(data, {e.filename.removeprefix(folder): e.file_size for e in entries})
        except CheckpointError as error:
            raise CheckpointError(f"{self.path}: {PICKLE}, {error}") from error

    def tensor(self, stored: StoredTensor) -> Tensor:
        """Return a stored tensor as a torch tensor of the same type, with its own memory."""
        storage = stored.storage
        if stored.numel == 0:
            return torch.empty(stored.shape, dtype=storage.dtype)
        flat = torch.frombuffer(bytearray(self._read(DATA + storage.key)), dtype=storage.dtype)
        return flat.as_strided(stored.shape, stored.stride, stored.offset).clone()

    def _check_entries(self) -> str:
        entries = self._zip.infolist()
        if len(entries) > ENTRIES_LIMIT:
            raise CheckpointError(f"{self.path} has {len(entries)} entries; {ENTRIES_LIMIT} is the limit")
        for entry in entries:
            try:
                plain_name(entry.filename)
            except CheckpointError as error:
                raise CheckpointError(f"{self.path} has {error}") from error
            if entry.compress_type != zipfile.ZIP_STORED or entry.file_size != entry.compress_size:
                raise CheckpointError(
                    f"{self.path}: {entry.filename} is compressed; torch.save compresses none"
                )
        declared = sum(entry.file_size for entry in entries)
        if declared > os.fstat(self._file.fileno()).st_size:
            raise CheckpointError(f"{self.path} declares {declared} bytes of entries, more than it has")
        roots = [e.filename.removesuffix(PICKLE) for e in entries if e.filename.endswith(f"/{PICKLE}")]
        if len(roots) != 1:
            raise CheckpointError(
                f"{self.path} has {len(roots)} entries named {PICKLE}; a checkpoint has one"
            )
        if self._zip.getinfo(roots[0] + PICKLE).file_size > PICKLE_LIMIT:
            raise CheckpointError(f"{self.path}: {PICKLE} has more than {PICKLE_LIMIT} bytes")
        self._root = roots[0]
        if self._root + "byteorder" in self._zip.namelist():
            order = self._read("byteorder").decode("ascii", "replace")
            if order != sys.byteorder:
                raise CheckpointError(
                    f"{self.path} has {shown(order)} as its byte order; this machine cannot read them"
                )
        return self._root

    def _read(self, name: str) -> bytes:
        try:
            entry = self._zip.getinfo(self._root + name)
            data = self._zip.read(entry)  # checks the CRC
        except BROKEN as error:
            raise CheckpointError(f"{self.path}: entry {name} is damaged: {error}") from error
        if len(data) != entry.file_size:
            raise CheckpointError(f"{self.path}: entry {name} has {len(data)} bytes, not {entry.file_size}")
        return data
