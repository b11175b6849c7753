"""A release moves all staged folders into the repository or none, also beside existing versions."""

import os

import pytest

from training.errors import ExportError
from training.export.artifact.release import release, remove_stale_staging, staging_room


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


# The text of a configuration is the versions that it names.
NEW = {
    "tiny-onnx/config.pbtxt": "1 2",
    "tiny-onnx/2/manifest.json": "two",
    "tiny-onnx-nms/config.pbtxt": "1 2",
    "tiny-onnx-nms/1/model.py": "new",
    "tiny-onnx-detect/config.pbtxt": "1 2",
}
OLD = {
    "tiny-onnx/config.pbtxt": "1",
    "tiny-onnx/1/manifest.json": "one",
    "tiny-onnx-nms/config.pbtxt": "1",
    "tiny-onnx-nms/1/model.py": "old",
}
OLD_WITH_DETECT = {**OLD, "tiny-onnx-detect/config.pbtxt": "1"}


def for_both(files):
    """The same files for a second target, too."""
    return {**files, **{name.replace("onnx", "openvino"): text for name, text in files.items()}}


# What is there, what is released, and how many moves that takes.
RELEASES = {
    "all three models are there": (OLD_WITH_DETECT, NEW, 5),  # three configurations, model.py, the version
    "detect is new": (OLD, NEW, 5),  # two configurations, model.py, the version, detect
    "two targets": (for_both(OLD_WITH_DETECT), for_both(NEW), 10),
    "all is new": ({}, NEW, 3),
}


def at_every_move(*, and_after_the_last):
    return pytest.mark.parametrize(
        ("old", "new", "moves_before", "moves"),
        [
            pytest.param(old, new, before, moves, id=f"{name}, {before}")
            for name, (old, new, moves) in RELEASES.items()
            for before in range(moves + and_after_the_last)
        ],
    )


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


def test_every_configuration_is_there_before_the_version_it_names(tmp_path, monkeypatch):
    fill(tmp_path, OLD)
    moves = []
    rename, replace = type(tmp_path).rename, type(tmp_path).replace
    monkeypatch.setattr(type(tmp_path), "rename", lambda a, b: moves.append(b) or rename(a, b))
    monkeypatch.setattr(type(tmp_path), "replace", lambda a, b: moves.append(b) or replace(a, b))
    with staging_room(tmp_path, "tiny") as room:
        fill(room, NEW)
        release(room, tmp_path)
    assert [str(path.relative_to(tmp_path)) for path in moves] == [
        "tiny-onnx/config.pbtxt",
        "tiny-onnx-nms/config.pbtxt",
        "tiny-onnx-nms/1/model.py",
        "tiny-onnx/2",
        "tiny-onnx-detect",
    ]


@pytest.mark.parametrize("blocked", ["tiny-onnx", "tiny-openvino", "tiny-openvino-nms"])
def test_when_one_model_cannot_be_released_those_before_it_are_taken_back(tmp_path, monkeypatch, blocked):
    fill(tmp_path, OLD)
    rename = type(tmp_path).rename

    def refuse(source, target):
        if target == tmp_path / blocked or target == tmp_path / blocked / "2":
            raise PermissionError("not here")
        return rename(source, target)

    monkeypatch.setattr(type(tmp_path), "rename", refuse)
    with staging_room(tmp_path, "tiny") as room:
        fill(room, for_both(NEW))
        with pytest.raises(ExportError, match=r"not here; nothing was released"):
            release(room, tmp_path)
    assert tree(tmp_path) == OLD


@at_every_move(and_after_the_last=False)
def test_a_release_that_fails_at_any_move_is_taken_back(tmp_path, monkeypatch, old, new, moves_before, moves):
    fill(tmp_path, old)
    made = []

    def fail_once(move):
        def moved(source, target):
            made.append(target)
            if len(made) == moves_before + 1:  # what takes back may move again
                raise PermissionError("not here")
            return move(source, target)

        return moved

    for name in ("rename", "replace"):
        monkeypatch.setattr(type(tmp_path), name, fail_once(getattr(type(tmp_path), name)))
    with staging_room(tmp_path, "tiny") as room:
        fill(room, new)
        with pytest.raises(ExportError, match=r"not here; nothing was released"):
            release(room, tmp_path)
    assert tree(tmp_path) == old


def versions_on_disk(files, model):
    paths = [name.split("/") for name in files]
    return {path[1] for path in paths if path[0] == model and path[-1] == "manifest.json"}


@at_every_move(and_after_the_last=True)
def test_a_release_killed_at_any_move_leaves_no_unnamed_version_and_the_next_one_finishes(
    tmp_path, old, new, moves_before, moves
):
    fill(tmp_path, old)
    left = [moves_before]

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
            fill(room, new)
            release(room, tmp_path)
        os._exit(0)
    _, status = os.waitpid(child, 0)
    assert os.waitstatus_to_exitcode(status) == (0 if moves_before == moves else 9)
    after = tree(tmp_path)
    assert set(old) <= set(after) <= {**old, **new}.keys()
    assert all(text in (old.get(name), new.get(name)) for name, text in after.items())
    for model in ("tiny-onnx", "tiny-openvino"):
        for config in (f"{model}{suffix}/config.pbtxt" for suffix in ("", "-nms", "-detect")):
            # A model without a configuration is one that a server does not load.
            assert config not in after or set(after[config].split()) >= versions_on_disk(after, model)
    again = {name.replace("/2/", "/3/"): text.replace("1 2", "1 2 3") for name, text in new.items()}
    with staging_room(tmp_path, "tiny") as room:
        fill(room, again)
        release(room, tmp_path)
    assert tree(tmp_path) == {**old, **after, **again}
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


def test_links_are_released_and_hold_in_the_repository(tmp_path):
    for version in ("1", "2"):
        with staging_room(tmp_path, "tiny") as room:
            fill(room, {f"tiny/{version}/manifest.json": version, "tiny-router/config.pbtxt": version})
            for each in map(str, range(1, int(version) + 1)):
                (room / "tiny-router" / each).mkdir(parents=True)
                (room / "tiny-router" / each / "graph").symlink_to(f"../../tiny/{each}/manifest.json")
            release(room, tmp_path)
    links = {each: tmp_path / "tiny-router" / each / "graph" for each in ("1", "2")}
    assert all(link.is_symlink() for link in links.values())
    assert {each: link.read_text() for each, link in links.items()} == {"1": "1", "2": "2"}


def test_a_link_that_was_replaced_is_put_back_if_the_release_fails(tmp_path, monkeypatch):
    fill(tmp_path, {"tiny-router/1/other": "other", "tiny-router/1/graph": "a copy"})
    (tmp_path / "tiny-router" / "1" / "link").symlink_to("other")

    def refuse(source, target):
        raise PermissionError("not here")

    monkeypatch.setattr(type(tmp_path), "rename", refuse)
    with staging_room(tmp_path, "tiny") as room:
        fill(room, {"tiny/1/manifest.json": "1", "tiny-router/config.pbtxt": "1"})
        (room / "tiny-router" / "1").mkdir()
        for name in ("link", "graph"):
            (room / "tiny-router" / "1" / name).symlink_to("../../tiny/1/manifest.json")
        with pytest.raises(ExportError, match=r"not here; nothing was released"):
            release(room, tmp_path)
    assert (tmp_path / "tiny-router" / "1" / "link").readlink().name == "other"
    assert not (tmp_path / "tiny-router" / "1" / "graph").is_symlink()
    assert (tmp_path / "tiny-router" / "1" / "graph").read_text() == "a copy"
    assert (tmp_path / "tiny-router" / "1" / "other").read_text() == "other"


def with_stale(repository):
    """Fill a repository with a model that nobody needs any more, and return its two folders."""
    fill(repository, {**OLD, "tiny-router/config.pbtxt": "1", "other-router/2/note": "2"})
    (repository / "tiny-router" / "1").mkdir()
    (repository / "tiny-router" / "1" / "graph").symlink_to("../../tiny/1/graph")  # is gone
    return [repository / "tiny-router", repository / "other-router" / "2"]


def test_folders_that_are_not_needed_any_more_are_removed(tmp_path):
    stale = with_stale(tmp_path)
    with staging_room(tmp_path, "tiny") as room:
        fill(room, NEW)
        release(room, tmp_path, stale)
    assert tree(tmp_path) == {**OLD, **NEW}
    assert not stale[0].is_symlink()
    assert not any(folder.exists() for folder in stale)
    assert (tmp_path / "other-router").is_dir()
    assert not list(tmp_path.glob(".staging-*"))


@pytest.mark.parametrize("kept", [0, 1])
def test_if_a_folder_cannot_be_removed_nothing_is_released_and_all_of_them_stay(tmp_path, monkeypatch, kept):
    stale = with_stale(tmp_path)
    before, rename = tree(tmp_path), type(tmp_path).rename

    def refuse(source, target):
        if source == stale[kept]:
            raise PermissionError("not here")
        return rename(source, target)

    monkeypatch.setattr(type(tmp_path), "rename", refuse)
    with staging_room(tmp_path, "tiny") as room:
        fill(room, NEW)
        with pytest.raises(ExportError, match=r"not here; nothing was released"):
            release(room, tmp_path, stale)
    assert tree(tmp_path) == before
    assert (tmp_path / "tiny-router" / "1" / "graph").is_symlink()
