"""Reads the zip file that torch.save writes. It has a pickle and an uncompressed entry for each storage."""

import hashlib
import os
import sys
import zipfile
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from io import BufferedReader
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from training.convert.pickle_reader import read_pickle
from training.convert.records import StoredTensor, plain_name, shown
from training.errors import CheckpointError

PICKLE = "data.pkl"
DATA = "data/"  # folder of the storages; each is one entry
PICKLE_LIMIT = 16 << 20  # bytes; the largest known checkpoint, with its optimizer, has under two million
ENTRIES_LIMIT = 100_000
BROKEN = (zipfile.BadZipFile, NotImplementedError, RuntimeError, EOFError, OSError, ValueError, KeyError)


@contextmanager
def open_archive(path: Path) -> Iterator["Archive"]:
    """Open a checkpoint file, and yield it as an Archive.

    The sizes that the zip declares are checked before any entry is read. If the block of the `with` statement
    raises a CheckpointError, its message is prefixed with the file's name.

    Raises:
        CheckpointError: the file is missing, truncated or not a zip of torch.save.
    """
    if not path.is_file():
        raise CheckpointError(f"no file at {path}")
    with ExitStack() as stack:
        try:
            file = stack.enter_context(path.open("rb"))
            opened = stack.enter_context(zipfile.ZipFile(file))
        except BROKEN as error:
            raise CheckpointError(
                f"{path} is no zip that torch.save (1.6 or newer) writes, is cut short or unreadable: {error}"
            ) from error
        try:
            yield Archive(file, opened)
        except CheckpointError as error:
            raise CheckpointError(f"{path}: {error}") from error


class Archive:
    """An open checkpoint file; all methods raise CheckpointError if the file is damaged."""

    def __init__(self, file: BufferedReader, opened: zipfile.ZipFile) -> None:
        self._file = file
        self._zip = opened
        self._root = self._check_entries()
        if self._root + "byteorder" in self._zip.namelist():
            order = self._read("byteorder").decode("ascii", "replace")
            if order != sys.byteorder:
                raise CheckpointError(f"has {shown(order)} as its byte order, which this machine cannot read")

    def sha256(self) -> str:
        """Return the SHA-256 of the opened file, even if the path now leads to another file."""
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
            raise CheckpointError(f"{PICKLE}, {error}") from error

    def tensor(self, stored: StoredTensor) -> Tensor:
        """Return a stored tensor as a torch tensor of the same type, with its own memory."""
        storage = stored.storage
        if stored.numel == 0:
            return torch.empty(stored.shape, dtype=storage.dtype)
        flat = torch.frombuffer(bytearray(self._read(DATA + storage.key)), dtype=storage.dtype)
        return flat.as_strided(stored.shape, stored.stride, stored.offset).clone()

    def _check_entries(self) -> str:
        """Check the names and sizes of all zip entries; return the folder of the pickle in the zip."""
        entries = self._zip.infolist()
        if len(entries) > ENTRIES_LIMIT:
            raise CheckpointError(f"has {len(entries)} entries; {ENTRIES_LIMIT} is the limit")
        for entry in entries:
            plain_name(entry.filename)
            if entry.compress_type != zipfile.ZIP_STORED or entry.file_size != entry.compress_size:
                raise CheckpointError(f"{entry.filename} is compressed; torch.save compresses no entry")
        declared = sum(entry.file_size for entry in entries)
        if declared > os.fstat(self._file.fileno()).st_size:
            raise CheckpointError(f"declares {declared} bytes of entries, more than the file has")
        pickles = [entry for entry in entries if entry.filename.endswith(f"/{PICKLE}")]
        if len(pickles) != 1:
            raise CheckpointError(f"has {len(pickles)} entries named {PICKLE}; a checkpoint has one")
        if pickles[0].file_size > PICKLE_LIMIT:
            raise CheckpointError(f"{PICKLE} has more than {PICKLE_LIMIT} bytes")
        return pickles[0].filename.removesuffix(PICKLE)

    def _read(self, name: str) -> bytes:
        try:
            entry = self._zip.getinfo(self._root + name)
            data = self._zip.read(entry)  # checks the CRC
        except BROKEN as error:
            raise CheckpointError(f"entry {name} is damaged: {error}") from error
        if len(data) != entry.file_size:
            raise CheckpointError(f"entry {name} has {len(data)} bytes, not {entry.file_size}")
        return data
