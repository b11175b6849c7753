"""Every reader of manifests converts version 1 by the same code."""

from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
MASTER = ROOT / "training" / "export" / "artifact" / "version_1.py"
BESIDE_NMS = [
    path.with_name("version_1.py").relative_to(ROOT).as_posix()
    for path in (ROOT / "model_repository").glob("*-nms/1/model.py")
]


@pytest.mark.parametrize("copied", ["service/artifact/version_1.py", "clients/version_1.py", *BESIDE_NMS])
def test_the_copies_are_byte_for_byte_the_same(copied):
    assert (ROOT / copied).read_bytes() == MASTER.read_bytes()
