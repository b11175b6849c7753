"""A damaged or hostile baseline is refused with a reason, whatever is in the file."""

import io
import zipfile

import numpy as np
import pytest

from service.artifact.manifest import parse_manifest
from service.artifact.routing_file import read_routing
from service.errors import ArtifactBroken
from tests.builders import sums_of, write_manifest
from tests.watched_artifacts import IMAGES, build_watched


@pytest.fixture(scope="module")
def watched(tmp_path_factory):
    return build_watched(tmp_path_factory.mktemp("watched"))


def saved(**arrays):
    file = io.BytesIO()
    np.savez(file, **arrays)
    return file.getvalue()


def zipped(**members):
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, content in members.items():
            archive.writestr(f"{name}.npy", content)
    return file.getvalue()


def npy(shape, dtype="<f2"):
    """Return an array file whose header promises more values than the file has."""
    file = io.BytesIO()
    np.lib.format.write_array_header_1_0(file, {"descr": dtype, "fortran_order": False, "shape": shape})
    return file.getvalue()


def claiming(offset, value):
    """Return a zip file in which one byte of the table of contents has another value."""
    content = bytearray(GOOD)
    for place in range(len(content) - 4):
        if content[place : place + 4] == b"PK\x01\x02":
            content[place + offset] = value
    return bytes(content)


LOGS = np.full((1, IMAGES, 2, 4), -1, np.float16)
SETS = np.ones((1, IMAGES, 2), np.uint64)
GOOD = saved(log_probs=LOGS, sets=SETS)
OBJECTS = np.array([{"code": 1}], dtype=object)
HOSTILE = {
    "empty": b"",
    "no zip file": b"x" * 100,
    "cut": GOOD[:-30],
    "one bit": GOOD[:200] + bytes([GOOD[200] ^ 1]) + GOOD[201:],
    "without sets": saved(log_probs=LOGS),
    "pickled objects": saved(log_probs=OBJECTS, sets=SETS),
    "other numbers": saved(log_probs=LOGS.astype(np.float32), sets=SETS),
    "too many images": saved(log_probs=LOGS.repeat(2, axis=1), sets=SETS.repeat(2, axis=1)),
    "not a number": saved(log_probs=LOGS * np.float16("nan"), sets=SETS),
    "positive": saved(log_probs=-LOGS, sets=SETS),
    "a zip bomb": zipped(log_probs=bytes(200_000_000), sets=b""),
    "a huge shape": zipped(log_probs=npy((1 << 40, 1 << 20)), sets=npy((1,))),
    "no array": zipped(log_probs=b"", sets=b""),
    "an unknown compression": claiming(10, 99),
    "an encrypted file": claiming(8, 1),
}


def read(built, content, **changes):
    """Read a file as the baseline of an artifact whose manifest has some changes."""
    (built.folder / "routing.npz").write_bytes(content)
    path = built.folder / "manifest.json"
    path.unlink()
    write_manifest(built.folder, {**built.manifest, "files": sums_of(built.folder)})
    manifest = parse_manifest(path.read_bytes(), str(path))
    return read_routing(built.folder, manifest.model_copy(update=changes))


def test_a_sound_baseline_is_read(watched):
    (only,) = read(watched, GOOD)
    assert only.sets.shape == (IMAGES, 2)


@pytest.mark.parametrize("what", HOSTILE)
def test_a_damaged_or_hostile_baseline_is_refused(watched, what):
    with pytest.raises(ArtifactBroken, match=r"routing\.npz"):
        read(watched, HOSTILE[what])


def test_a_layer_has_at_most_64_experts(watched):
    def of(experts):
        path = watched.folder / "manifest.json"
        first, *others = parse_manifest(path.read_bytes(), str(path)).mixture
        logs = np.full((1, IMAGES, 2, experts), -1, np.float16)
        mixture = (first.model_copy(update={"num_experts": experts}), *others)
        return read(watched, saved(log_probs=logs, sets=SETS << np.uint64(experts - 1)), mixture=mixture)

    assert of(64)[0].sets.max() == 1 << 63
    with pytest.raises(ArtifactBroken, match="65 experts"):
        of(65)
