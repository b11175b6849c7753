"""Staged folders go into the repository all or not at all, also beside versions that are there."""

import os

import pytest

from training.errors import ExportError
from training.export.release import release, remove_stale_staging, staging_room


def fill(folder, files):
    for name, text in files.items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_text(text)


def tree(folder):
    """Every file that is not staged, with its content."""
    return {
        str(path.relative_to(folder)): path.read_text()
        for path in sorted(folder.rglob("*"))
        if path.is_file() and not path.relative_to(folder).parts[0].startswith(".staging-")
    }


NEW = {
    "tiny-onnx/config.pbtxt": "new",
    "tiny-onnx/2/manifest.json": "two",
    "tiny-onnx-nms/config.pbtxt": "new",
    "tiny-onnx-nms/1/model.py": "new",
    "tiny-onnx-detect/config.pbtxt": "new",
}
OLD = {
    "tiny-onnx/config.pbtxt": "old",
    "tiny-onnx/1/manifest.json": "one",
    "tiny-onnx-nms/config.pbtxt": "old",
    "tiny-onnx-nms/1/model.py": "old",
}


def test_a_new_model_is_moved_in_whole(tmp_path):
    with staging_room(tmp_path, "tiny") as room:
        fill(room, NEW)
        release(room, tmp_path)
    assert tree(tmp_path) == NEW
    assert not list(tmp_path.glob(".staging-*"))


def test_a_further_version_joins_the_first_and_files_are_replaced(tmp_path):
    fill(tmp_path, OLD)
    with staging_room(tmp_path, "tiny") as room:
        fill(room, NEW)
        release(room, tmp_path)
    assert tree(tmp_path) == {**OLD, **NEW}


def test_the_configuration_is_there_before_the_version_it_names(tmp_path, monkeypatch):
    fill(tmp_path, OLD)
    moves = []
    rename, replace = type(tmp_path).rename, type(tmp_path).replace
    monkeypatch.setattr(type(tmp_path), "rename", lambda a, b: moves.append(b.name) or rename(a, b))
    monkeypatch.setattr(type(tmp_path), "replace", lambda a, b: moves.append(b.name) or replace(a, b))
    with staging_room(tmp_path, "tiny") as room:
        fill(room, {"tiny-onnx/2/manifest.json": "two", "tiny-onnx/config.pbtxt": "new"})
        release(room, tmp_path)
    assert moves == ["config.pbtxt", "2"]


@pytest.mark.parametrize("blocked", ["tiny-onnx", "tiny-openvino", "tiny-openvino-nms"])
def test_when_one_model_cannot_be_released_those_before_it_are_taken_back(tmp_path, monkeypatch, blocked):
    fill(tmp_path, OLD)
    rename = type(tmp_path).rename

    def refuse(source, target):
        if target == tmp_path / blocked or target == tmp_path / blocked / "2":
            raise PermissionError("not here")
        return rename(source, target)

    monkeypatch.setattr(type(tmp_path), "rename", refuse)
    openvino = {name.replace("onnx", "openvino"): text for name, text in NEW.items()}
    with staging_room(tmp_path, "tiny") as room:
        fill(room, {**NEW, **openvino})
        with pytest.raises(ExportError, match=r"not here; nothing was released"):
            release(room, tmp_path)
    assert tree(tmp_path) == OLD


@pytest.mark.parametrize("moves_before_the_kill", range(7))
def test_a_release_killed_at_any_move_leaves_whole_files_and_the_next_one_finishes(
    tmp_path, monkeypatch, moves_before_the_kill
):
    fill(tmp_path, OLD)
    left = [moves_before_the_kill]

    def count(move):
        def moved(source, target):
            if not left[0]:
                os._exit(9)
            left[0] -= 1
            return move(source, target)

        return moved

    child = os.fork()
    if child == 0:  # a real end: nothing is undone
        path_type = type(tmp_path)
        path_type.rename, path_type.replace = count(path_type.rename), count(path_type.replace)
        with staging_room(tmp_path, "tiny") as room:
            fill(room, NEW)
            release(room, tmp_path)
        os._exit(0)
    os.waitpid(child, 0)
    after = tree(tmp_path)
    assert set(OLD) <= set(after) <= {**OLD, **NEW}.keys()
    assert all(text in (OLD.get(name), NEW.get(name)) for name, text in after.items())
    if "tiny-onnx/2/manifest.json" in after:
        assert after["tiny-onnx/config.pbtxt"] == "new"
    again = {name.replace("/2/", "/3/"): text for name, text in NEW.items()}
    with staging_room(tmp_path, "tiny") as room:
        fill(room, again)
        release(room, tmp_path)
    assert tree(tmp_path) == {**OLD, **after, **again}
    assert not list(tmp_path.glob(".staging-*"))


def test_a_version_that_another_export_released_first_stays_as_it_is(tmp_path):
    fill(tmp_path, {**OLD, "tiny-onnx/2/manifest.json": "another came first"})
    before = tree(tmp_path)
    with staging_room(tmp_path, "tiny") as room:
        fill(room, NEW)
        with pytest.raises(ExportError, match="nothing was released"):
            release(room, tmp_path)
    assert tree(tmp_path) == before


def test_staging_of_a_living_process_is_left_alone_and_that_of_a_dead_one_removed(tmp_path):
    mine = tmp_path / f".staging-tiny-{os.getpid()}"
    parent = tmp_path / f".staging-tiny-{os.getppid()}"
    dead = tmp_path / ".staging-tiny-4194305"  # above the highest id that Linux gives
    for folder in (mine, parent, dead):
        folder.mkdir()
    remove_stale_staging(tmp_path)
    assert mine.exists()
    assert parent.exists()
    assert not dead.exists()


def test_what_a_process_of_the_same_id_left_behind_does_not_stop_the_next(tmp_path):
    fill(tmp_path, {f".staging-tiny-{os.getpid()}/tiny-onnx/1/model.onnx": "half"})
    with staging_room(tmp_path, "tiny") as room:
        assert list(room.iterdir()) == []
