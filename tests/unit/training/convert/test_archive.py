"""Zip files around a pickle are refused if they are truncated, inflated or contradictory."""

import io
import random
import zipfile
from pathlib import Path

import pytest
import torch

from training.convert.archive import PICKLE_LIMIT, open_archive
from training.convert.records import StoredTensor
from training.errors import CheckpointError


@pytest.fixture
def saved(tmp_path) -> Path:
    """A dict with three tensors, one of them a slice with gaps."""
    path = tmp_path / "tiny.pt"
    whole = torch.arange(12.0).reshape(3, 4)
    torch.save({"half": whole.half(), "slice": whole[:, 1:3], "count": torch.tensor(7)}, path)
    return path


def tensors(path: Path) -> dict[str, torch.Tensor]:
    with open_archive(path) as archive:
        contents = archive.contents()
        if not isinstance(contents, dict):
            return {}
        found = {name: stored for name, stored in contents.items() if isinstance(stored, StoredTensor)}
        return {name: archive.tensor(stored) for name, stored in found.items()}


def rewrite(path: Path, change: dict[str, bytes | None], compression: int = zipfile.ZIP_STORED) -> None:
    """The same archive with entries replaced, added, or (None) left out. Names are without the folder."""
    with zipfile.ZipFile(path) as old:
        entries = {name.split("/", 1)[1]: old.read(name) for name in old.namelist()}
    with zipfile.ZipFile(path, "w", compression) as new:
        for name, data in {**entries, **change}.items():
            if data is not None:
                new.writestr(f"tiny/{name}", data)


def test_tensors_come_back_with_their_values_and_types(saved):
    found = tensors(saved)
    assert found["half"].dtype == torch.float16
    assert found["half"].tolist() == [[0, 1, 2, 3], [4, 5, 6, 7], [8, 9, 10, 11]]
    assert found["slice"].tolist() == [[1, 2], [5, 6], [9, 10]]
    assert found["count"].tolist() == 7


@pytest.mark.parametrize(
    ("change", "said"),
    [
        pytest.param({"data.pkl": None}, "0 entries named data.pkl", id="no pickle"),
        pytest.param({"data/0": None}, "storage '0' is missing", id="no storage"),
        pytest.param({"data/0": b"\0" * 23}, "has 23 bytes, not the 24", id="short storage"),
        pytest.param({"more/data.pkl": b""}, "2 entries named data.pkl", id="two pickles"),
        pytest.param({"data.pkl": bytes(PICKLE_LIMIT + 1)}, "more than", id="pickle too large"),
        pytest.param({"data.pkl": b""}, "no pickle", id="empty pickle"),
        pytest.param({"byteorder": b"big"}, "'big' as its byte order", id="other byte order"),
        pytest.param({"byteorder": b"\x1b[2J"}, r"'\\x1b\[2J' as its", id="byte order for a terminal"),
        pytest.param({"data/\x1b[2J": b""}, "a name that cannot be shown", id="entry for a terminal"),
        pytest.param({"data/" + "9" * 200: b""}, "a name that cannot be shown", id="long entry"),
    ],
)
def test_an_archive_that_contradicts_itself_is_refused(saved, change, said):
    rewrite(saved, change)
    with pytest.raises(CheckpointError, match=rf"tiny\.pt.*{said}"):
        tensors(saved)


def test_a_compressed_archive_is_refused_before_anything_is_inflated(saved):
    rewrite(saved, {"data/9": bytes(10_000_000)}, zipfile.ZIP_DEFLATED)
    with pytest.raises(CheckpointError, match=r"tiny\.pt: .* is compressed"):
        tensors(saved)


def test_entries_that_share_their_bytes_are_refused(saved):
    """A zip of a few kilobytes may list one large entry many times."""
    raw = io.BytesIO(saved.read_bytes())
    with zipfile.ZipFile(raw, "a") as file:
        largest = max(file.infolist(), key=lambda entry: entry.file_size)
        file.filelist.extend([largest] * 50)
        file._didModify = True  # so that the longer list is written
    saved.write_bytes(raw.getvalue())
    with pytest.raises(CheckpointError, match=r"tiny\.pt"):
        tensors(saved)


def test_what_is_no_zip_and_what_is_not_there_are_refused(tmp_path):
    with pytest.raises(CheckpointError, match=r"no file at .*none\.pt"):
        tensors(tmp_path / "none.pt")
    for name, data in (("text.pt", b"hello"), ("empty.pt", b""), ("old.pt", b"\x80\x02\x8a\nl\xfc\x9cF\xf9")):
        (tmp_path / name).write_bytes(data)
        with pytest.raises(CheckpointError, match=rf"{name} is no zip"):
            tensors(tmp_path / name)


def test_a_file_cut_short_is_refused(saved):
    data = saved.read_bytes()
    for length in range(0, len(data), 97):
        saved.write_bytes(data[:length])
        with pytest.raises(CheckpointError, match=r"tiny\.pt"):
            tensors(saved)


def test_a_changed_byte_is_found_or_did_not_matter(saved):
    data, before = saved.read_bytes(), tensors(saved)
    generator = random.Random(1)
    refused = 0
    for _ in range(60):
        changed = bytearray(data)
        changed[generator.randrange(len(data))] ^= 1 << generator.randrange(8)
        saved.write_bytes(changed)
        try:
            found = tensors(saved)
        except CheckpointError:
            refused += 1
        else:
            assert all(torch.equal(found[name], before[name]) for name in before)
    assert refused > 10
