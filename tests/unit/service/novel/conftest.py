"""Records of kept images, made by hand."""

from datetime import UTC, datetime, timedelta

import numpy as np
import pytest

from service.novel.folder import Folder
from service.novel.record import LayerPath, Record
from service.novel.score import Novelty

JPEG = b"j" * 100


def record(number=0, score=1.0, **changes):
    """Return a record whose id and hour follow its number."""
    fields = {
        "id": f"{number:016x}", "score": score, "rank": 0.5, "rarity": score, "path_share": 0.0,
        "confidence": None, "why": "rare-path", "model": "tiny", "version": "1", "backend": "openvino",
        "hour": datetime(2026, 1, 1, tzinfo=UTC) + timedelta(hours=number),
        "width": 100, "height": 50, "file_bytes": len(JPEG), "model_sha256": "0" * 64, "task": "detect",
        "class_names": ["red", "green"], "skeleton": None, "controls": {"top_k": 2},
        "path": [LayerPath(layer="p4", active=[0], probabilities=[0.9, 0.1])],
        "place": [float(number), 0.0], "predictions": [],
    }  # fmt: skip
    return Record(**{**fields, **changes})


def novelty(one):
    """Return the novelty from which a record was made."""
    return Novelty(one.rank, one.score, 0.0, None, np.array(one.place, dtype=np.float32))


@pytest.fixture
def folder(tmp_path):
    """Return a function that opens a folder of at most three images."""

    def opened(images=3, size_bytes=10**6):
        found = Folder(tmp_path / "novel", images, size_bytes)
        found.read()
        return found

    return opened


def keep(folder, *records):
    """Keep images in turn; return whether there was room for each."""
    return [folder.keep(one, JPEG, novelty(one)) for one in records]


def numbers(folder):
    return sorted(int(one.id, 16) for one in folder)
