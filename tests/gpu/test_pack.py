"""The packed folder: its content, and when packing is refused."""

import pytest

from tests.gpu import pack
from tests.gpu.pack import LIMIT_BYTES, check_size, fitting_quality, main, pins
from tests.gpu.shrink import PackError, Shrunk


def of_quality(quality):
    return Shrunk(bytes(10 * quality), ".webp", (640, 640), (640, 640))


def test_versions_are_those_of_the_constraints(tmp_path):
    path = tmp_path / "constraints.txt"
    path.write_text("# exact\nPyYAML==6.0.3\ntqdm==4.70.1  # why\n", encoding="utf-8")
    assert pins(path) == {"pyyaml": "6.0.3", "tqdm": "4.70.1"}


def test_60_mb_are_packed_and_one_byte_more_is_refused():
    check_size(LIMIT_BYTES)
    with pytest.raises(PackError, match=r"are 60\.0 MB, over 60\.0 MB; nothing was packed"):
        check_size(LIMIT_BYTES + 1)


def test_the_highest_quality_that_fits_is_taken(monkeypatch, tmp_path):
    # 10 images a data set, as large in bytes as 10 times the quality: 30 × 900 at 90, 30 × 600 at 60,
    monkeypatch.setattr(pack, "images_of", lambda folder: [folder] * 10)
    monkeypatch.setattr(pack, "shrink", lambda path, quality: of_quality(quality))
    # and 5 % are left for labels.
    assert fitting_quality(tmp_path, 28_351) == 90
    assert fitting_quality(tmp_path, 28_350) == 85
    assert fitting_quality(tmp_path, 18_901) == 60
    with pytest.raises(PackError, match="at quality 60"):
        fitting_quality(tmp_path, 18_900)


def test_a_missing_data_set_is_named_and_nothing_is_written(tmp_path, capsys):
    (tmp_path / "bccd").mkdir()
    assert main([str(tmp_path), "--into", str(tmp_path / "packed")]) == 1
    assert capsys.readouterr().err == f"pack: {tmp_path / 'aquarium'}: no such folder\n"
    assert [path.name for path in tmp_path.iterdir()] == ["bccd"]


def test_without_a_folder_it_says_how_to_give_one(monkeypatch, capsys):
    monkeypatch.delenv("SPARSIGHT_DATA", raising=False)
    assert main([]) == 1
    assert "as an argument, or in SPARSIGHT_DATA" in capsys.readouterr().err
