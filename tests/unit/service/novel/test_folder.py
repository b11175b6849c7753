"""The folder of novel images stays within its limits, and survives restarts and full disks."""

import os
import resource
import shutil
import subprocess
import sys
from contextlib import contextmanager
from pathlib import Path

import pytest

from service.errors import UnknownImage
from tests.faults.gateway import in_namespace
from tests.unit.service.novel.conftest import JPEG, keep, novelty, numbers, record

ROOT = Path(__file__).parents[4]
SIZE = len(JPEG) + len(record().model_dump_json())  # of one image with its record


def names(folder):
    return sorted(path.name for path in folder._path.iterdir())


def test_an_image_and_its_record_come_back_as_they_were_kept(folder):
    kept = folder()
    keep(kept, record(7))
    assert kept.image(f"{7:016x}") == JPEG
    assert list(folder()) == [record(7)]
    assert names(kept) == [f"{7:016x}.jpg", f"{7:016x}.json"]


def test_the_last_image_that_fits_is_kept_and_the_next_one_replaces_the_least_novel(folder):
    kept = folder(images=3)
    assert keep(kept, record(1, 5.0), record(2, 4.0), record(3, 6.0)) == [True] * 3
    assert numbers(kept) == [1, 2, 3]
    assert keep(kept, record(4, 4.5)) == [True]
    assert numbers(kept) == [1, 3, 4]


def test_an_image_that_is_no_more_novel_than_the_least_novel_is_not_kept(folder):
    kept = folder(images=2)
    keep(kept, record(1, 5.0), record(2, 4.0))
    assert not kept.has_room(4.0)
    assert kept.has_room(4.01)
    assert keep(kept, record(3, 4.0)) == [False]
    assert numbers(kept) == [1, 2]


def test_of_equally_novel_images_the_oldest_goes(folder):
    kept = folder(images=2)
    keep(kept, record(2, 4.0), record(1, 4.0), record(3, 5.0))
    assert numbers(kept) == [2, 3]


def test_bytes_are_limited_to_the_byte(folder):
    at_limit = folder(size_bytes=2 * SIZE)
    assert keep(at_limit, record(1, 2.0), record(2, 2.0)) == [True, True]
    assert numbers(at_limit) == [1, 2]
    one_less = folder(size_bytes=2 * SIZE - 1)  # reads what is there, and makes room
    assert numbers(one_less) == [2]
    assert keep(one_less, record(3, 3.0)) == [True]
    assert numbers(one_less) == [3]
    assert sum(path.stat().st_size for path in one_less._path.iterdir()) <= 2 * SIZE - 1


def test_an_image_that_is_larger_than_the_folder_may_be_is_not_kept(folder):
    exact, less = folder(size_bytes=SIZE), folder(size_bytes=SIZE - 1)
    assert keep(less, record(1)) == [False]
    assert keep(exact, record(1)) == [True]


def test_several_images_go_for_a_large_one_unless_one_of_them_is_more_novel(folder):
    kept = folder(images=10, size_bytes=3 * SIZE)
    keep(kept, record(1, 1.0), record(2, 2.0), record(3, 9.0))
    large = record(4, 5.0, file_bytes=len(JPEG) + SIZE)
    assert kept.keep(large, JPEG + b"l" * SIZE, novelty(large))
    assert numbers(kept) == [3, 4]
    larger = record(5, 6.0, file_bytes=len(JPEG) + 2 * SIZE)
    assert not kept.keep(larger, JPEG + b"l" * 2 * SIZE, novelty(larger))
    assert numbers(kept) == [3, 4]


def test_of_nearly_equal_images_the_most_novel_one_is_kept(folder):
    kept = folder()
    first = record(1, 5.0, place=[1.0, 0.0])
    keep(kept, first)
    near, apart = record(2, 6.0, place=[1.09, 0.0]), record(3, 5.0, place=[1.1001, 0.0])
    assert kept.has_like(novelty(record(9, 5.0, place=[1.09, 0.0])), first.model_sha256)
    assert not kept.has_like(novelty(near), first.model_sha256)
    assert not kept.has_like(novelty(record(9, 5.0, place=[1.09, 0.0])), "1" * 64)
    assert not kept.has_like(novelty(apart), first.model_sha256)
    keep(kept, near)
    assert numbers(kept) == [2]


def test_a_start_removes_what_was_half_written_and_leaves_other_files_alone(folder):
    kept = folder()
    keep(kept, record(1), record(2), record(3))
    path = kept._path
    (path / f"{4:016x}.jpg.partial").write_bytes(b"half")
    (path / f"{5:016x}.jpg").write_bytes(JPEG)  # without a record
    (path / f"{2:016x}.json").write_text('{"id": "')
    (path / f"{3:016x}.jpg").write_bytes(JPEG[:-1])
    (path / "notes.txt").write_text("mine")
    assert numbers(folder()) == [1]
    assert names(kept) == [f"{1:016x}.jpg", f"{1:016x}.json", "notes.txt"]


def test_what_others_have_put_into_the_folder_is_neither_read_nor_removed(folder, tmp_path):
    kept = folder(images=2)
    keep(kept, record(1))
    path = kept._path
    secret = tmp_path / "secret"
    secret.write_bytes(b"x" * len(JPEG))
    (path / f"{2:016x}.jpg").symlink_to(secret)
    (path / f"{2:016x}.json").write_text(record(2).model_dump_json())
    os.mkfifo(path / f"{3:016x}.json")  # to read it would take for ever
    (path / f"{3:016x}.jpg").write_bytes(JPEG)
    (path / f"{4:016x}.json").mkdir()
    (path / f"{5:016x}.jpg").mkdir()
    again = folder(images=2)
    assert numbers(again) == [1]
    assert secret.exists()
    assert {f"{3:016x}.json", f"{4:016x}.json", f"{5:016x}.jpg"} < set(names(again))
    keep(again, record(6), record(7))
    assert len(again) == 2


def test_a_link_in_place_of_an_image_leads_to_nothing(folder, tmp_path):
    kept = folder()
    keep(kept, record(1))
    (tmp_path / "secret").write_bytes(b"secret")
    (kept._path / f"{1:016x}.jpg").unlink()
    (kept._path / f"{1:016x}.jpg").symlink_to(tmp_path / "secret")
    with pytest.raises(UnknownImage):
        kept.image(f"{1:016x}")


def test_a_deleted_image_is_gone_after_a_restart_too(folder):
    kept = folder()
    keep(kept, record(1), record(2))
    kept.delete(f"{1:016x}")
    assert numbers(kept) == numbers(folder()) == [2]
    for unknown in (f"{1:016x}", "../secret", ""):
        with pytest.raises(UnknownImage):
            kept.delete(unknown)
        with pytest.raises(UnknownImage):
            kept.image(unknown)


def test_an_image_whose_file_somebody_removed_is_unknown(folder):
    kept = folder()
    keep(kept, record(1))
    (kept._path / f"{1:016x}.jpg").unlink()
    with pytest.raises(UnknownImage):
        kept.image(f"{1:016x}")


@pytest.mark.parametrize("end", ["jpg", "json"])
def test_an_image_of_which_a_file_was_removed_is_forgotten_with_its_other_file(folder, end):
    kept = folder(images=2)
    keep(kept, record(1, 5.0), record(2, 6.0))
    (kept._path / f"{2:016x}.{end}").unlink()
    kept.forget_removed()
    assert numbers(kept) == [1]
    assert names(kept) == [f"{1:016x}.jpg", f"{1:016x}.json"]
    assert keep(kept, record(3, 1.0)) == [True]  # there is room again, also for a less novel image


def test_a_folder_that_was_removed_has_no_images(folder):
    kept = folder()
    keep(kept, record(1), record(2))
    shutil.rmtree(kept._path)
    kept.forget_removed()
    assert numbers(kept) == []


def test_only_the_owner_can_read_the_files_and_their_times_say_no_more_than_the_hour(folder):
    kept = folder()
    keep(kept, record(1))
    assert kept._path.stat().st_mode & 0o777 == 0o700
    for path in kept._path.iterdir():
        assert path.stat().st_mode & 0o777 == 0o600
        assert path.stat().st_mtime == record(1).hour.timestamp()


@contextmanager
def files_of_at_most(size_bytes):
    """Let every write beyond `size_bytes` fail, in the middle of a file."""
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size_bytes, hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))


@pytest.mark.parametrize("size_bytes", [pytest.param(50, id="the image"), pytest.param(300, id="the record")])
def test_a_failed_write_leaves_nothing_behind_and_loses_no_other_image(folder, size_bytes):
    kept = folder(images=1)
    keep(kept, record(1, 1.0))
    before = names(kept)
    with files_of_at_most(size_bytes), pytest.raises(OSError, match="File too large"):
        keep(kept, record(2, 2.0))
    assert names(kept) == before
    assert numbers(kept) == [1]
    assert keep(kept, record(2, 2.0)) == [True]


FULL_DISK = """
import sys, os
from pathlib import Path
from tests.unit.service.novel.conftest import keep, record
from service.novel.folder import Folder
folder = Folder(Path(sys.argv[1]), 1000, 10**9)
folder.read()
done = 0
try:
    for done in range(1000):
        keep(folder, record(done, 1.0 + done))
except OSError as error:
    left = [path.name for path in Path(sys.argv[1]).iterdir() if path.suffix == ".partial"]
    again = Folder(Path(sys.argv[1]), 1000, 10**9)
    again.read()
    print(error.strerror, len(folder) == done == len(again) > 0, left)
"""


def test_a_full_disk_leaves_the_images_that_it_holds(tmp_path):
    run = [sys.executable, "-c", FULL_DISK, str(tmp_path)]
    command = in_namespace(f"mount -t tmpfs -o size=64k tmpfs {tmp_path}") + run
    done = subprocess.run(command, check=False, capture_output=True, text=True, cwd=ROOT)
    assert done.stdout == "No space left on device True []\n", done.stderr


READ_ONLY = """
import asyncio, os, sys
from pathlib import Path
from prometheus_client import CollectorRegistry
from service.errors import NotDeleted
from service.expert_metrics import ExpertMetrics
from service.novel.keeper import Keeper
from service.settings import Settings
from tests.unit.service.novel.conftest import keep, record
from service.novel.folder import Folder

async def main(path):
    keep(Folder(path, 9, 10**9), record(1), record(2))
    keeper = Keeper(Settings(novel={"folder": path}), ExpertMetrics(CollectorRegistry()))
    await keeper.open()
    os.system(f"mount -o remount,ro {path}")
    try:
        await keeper.delete(f"{1:016x}")
    except NotDeleted as error:
        print(error, len(await keeper.records()))
    await keeper.close()

asyncio.run(main(Path(sys.argv[1])))
"""


def test_an_image_of_a_read_only_folder_cannot_be_deleted_and_stays(tmp_path):
    run = [sys.executable, "-c", READ_ONLY, str(tmp_path)]
    command = in_namespace(f"mount -t tmpfs tmpfs {tmp_path}") + run
    done = subprocess.run(command, check=False, capture_output=True, text=True, cwd=ROOT)
    assert done.stdout == (
        f"image '{1:016x}' cannot be deleted: Read-only file system; let the service write to "
        "SPARSIGHT_NOVEL__FOLDER, and delete it again 2\n"
    ), done.stderr
