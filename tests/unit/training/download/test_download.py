"""A whole data set is downloaded into a folder that a reader can open."""

import hashlib
import json
import signal
import threading
import time
from dataclasses import replace

import pytest

from tests.unit.training.download.archives import write_tar, write_zip
from tests.unit.training.download.http_server import serving
from tests.unit.training.messages import collecting
from training.download.catalogue import BENCHMARKS, Archive, Benchmark
from training.download.download import (
    RECORDS,
    DownloadOptions,
    check_space,
    download,
    in_bytes,
    needed_space,
)
from training.download.fetch import CHUNK, Patience
from training.errors import DownloadError

HASTY = Patience(attempts=2, first_wait_s=0.01, longest_wait_s=0.02, connect_s=20, read_s=20)
LABELS = {"set/labels/1.txt": b"cat", "set/labels/2.txt": b"dog"}
IMAGES = {"set/images/1.jpg": bytes(range(256)) * 1024, "set/images/2.jpg": b"2"}  # 4 chunks and a byte
UNPACKED = {**LABELS, **IMAGES}


def described(content, **others):
    return Archive(
        **{
            "size": len(content),
            "sha256": hashlib.sha256(content).hexdigest(),
            "unpacked_limit": 10**6,
            **others,
        }
    )


class Offered:
    """A server with a data set of two archives, and what was said while it was brought."""

    def __init__(self, server, tmp_path, **of_images):
        labels = write_zip(tmp_path / "labels.zip", LABELS)
        self.images = write_tar(tmp_path / "images.tar", IMAGES, "w:")
        server.files = {"/labels.zip": labels, "/images.tar": self.images}
        self.server, self.folder = server, tmp_path / "data"
        self.benchmark = Benchmark(
            name="cats",
            what="2 photos",
            licence="CC0",
            terms="Do as you like.",
            home="http://cats.invalid",
            archives=(
                described(labels, name="labels.zip", url=f"{server.url}/labels.zip", holds=("set/labels",)),
                described(
                    self.images,
                    **{
                        "name": "images.tar",
                        "url": f"{server.url}/images.tar",
                        "holds": ("set/images", "set/images/2.jpg"),
                        **of_images,
                    },
                ),
            ),
        )

    def bring(self, **options):
        with collecting() as self.said:
            download(self.benchmark, self.folder, DownloadOptions(patience=HASTY, **options))

    def refusal(self, **options):
        with pytest.raises(DownloadError) as refused:
            self.bring(**options)
        return str(refused.value)

    @property
    def asked(self):
        return [path for path, *_ in self.server.requests]

    def there(self):
        """The data, as a reader sees it."""
        files = [path for path in (self.folder / "set").rglob("*") if path.is_file()]
        return {str(path.relative_to(self.folder)): path.read_bytes() for path in files}

    def names(self):
        """What lies beside the data."""
        return sorted(path.name for path in self.folder.iterdir()) if self.folder.exists() else []


@pytest.fixture
def offered(tmp_path):
    with serving() as server:
        yield Offered(server, tmp_path)


def test_terms_are_said_first_then_all_is_brought_checked_and_unpacked(offered):
    offered.bring()
    assert offered.there() == UNPACKED
    assert offered.names() == [RECORDS, "images.tar", "labels.zip", "set"]
    assert offered.said[0] == "2 photos\nDo as you like.\nMore: http://cats.invalid"
    labels = offered.benchmark.archives[0]
    assert f"labels.zip: SHA-256 {labels.sha256}, as recorded by TensorFlow Datasets" in offered.said
    assert "labels.zip: 2 files, 6 B unpacked" in offered.said
    assert "--recipe cats --data" in offered.said[-1]


def test_what_is_complete_is_not_touched_again(offered):
    offered.bring()
    offered.server.requests.clear()
    (offered.folder / "set" / "labels" / "1.txt").write_bytes(b"lynx")
    offered.bring()
    assert offered.asked == []
    assert offered.there() == {**UNPACKED, "set/labels/1.txt": b"lynx"}
    assert offered.said[1:3] == ["labels.zip: there already", "images.tar: there already"]
    assert offered.said[-1].startswith("complete")


def test_archives_can_be_removed_and_are_not_missed(offered):
    offered.bring(remove_archives=True)
    assert offered.names() == [RECORDS, "set"]
    offered.server.requests.clear()
    offered.bring()
    assert offered.asked == []


def test_what_was_removed_comes_back_from_the_archive_that_is_there(offered):
    offered.bring()
    offered.server.requests.clear()
    (offered.folder / "set" / "images" / "2.jpg").unlink()
    offered.bring()
    assert offered.there() == UNPACKED
    assert offered.asked == []
    assert f"images.tar: found in {offered.folder}" in offered.said


@pytest.mark.parametrize("record", ["", "{", "[]", "{}", '{"sha256": "of an older archive"}'])
def test_a_record_of_something_else_counts_for_nothing(offered, record):
    offered.bring(remove_archives=True)
    (offered.folder / RECORDS / "labels.zip.json").write_text(record)
    (offered.folder / "set" / "labels" / "1.txt").write_bytes(b"lynx")
    offered.bring()
    assert offered.there() == UNPACKED


def test_ctrl_c_in_a_download_and_the_same_call_goes_on(offered):
    main_thread = threading.main_thread().ident
    partial = offered.folder / "images.tar.partial"

    def interrupt():
        until = time.monotonic() + 10
        while not (partial.exists() and partial.stat().st_size >= CHUNK) and time.monotonic() < until:
            time.sleep(0.005)
        signal.pthread_kill(main_thread, signal.SIGINT)

    offered.server.drops += [10**9, 2 * CHUNK]  # the labels come whole
    offered.server.on_drop += [lambda: None, interrupt]
    with pytest.raises(KeyboardInterrupt):
        offered.bring()
    kept = partial.stat().st_size
    assert kept >= CHUNK
    assert offered.there() == LABELS
    offered.server.requests.clear()
    offered.bring()
    assert offered.there() == UNPACKED
    assert offered.server.requests == [("/images.tar", f"bytes={kept}-", '"first"')]
    assert offered.names() == [RECORDS, "images.tar", "labels.zip", "set"]


def test_a_stop_after_the_download_costs_no_second_one(offered):
    offered.folder.mkdir()
    (offered.folder / "images.tar.partial").write_bytes(offered.images)
    (offered.folder / RECORDS / "labels.zip.unpacking" / "set").mkdir(parents=True)
    offered.bring()
    assert offered.there() == UNPACKED
    assert offered.asked == ["/labels.zip"]
    assert not (offered.folder / RECORDS / "labels.zip.unpacking").exists()


def test_a_wrong_checksum_is_said_with_both_sums_and_nothing_wrong_is_kept(offered):
    wrong = offered.images[::-1]
    offered.server.files["/images.tar"] = wrong
    message = offered.refusal()
    assert hashlib.sha256(wrong).hexdigest() in message
    assert hashlib.sha256(offered.images).hexdigest() in message
    assert "(recorded by TensorFlow Datasets)" in message
    assert offered.names() == [RECORDS, "labels.zip", "set"]
    assert offered.there() == LABELS
    offered.server.files["/images.tar"] = offered.images
    offered.bring()
    assert offered.there() == UNPACKED


def test_an_archive_that_a_user_put_there_is_checked_and_never_removed_when_wrong(offered):
    offered.folder.mkdir()
    wrong = offered.images[::-1]
    (offered.folder / "images.tar").write_bytes(wrong)
    assert hashlib.sha256(wrong).hexdigest() in offered.refusal()
    (offered.folder / "images.tar").write_bytes(wrong[1:])
    assert f"has {len(wrong) - 1:,} bytes where {len(wrong):,} are expected" in offered.refusal()
    assert (offered.folder / "images.tar").read_bytes() == wrong[1:]
    (offered.folder / "images.tar").write_bytes(offered.images)
    offered.bring()
    assert offered.asked == ["/labels.zip"]
    assert offered.there() == UNPACKED


def test_data_unpacked_by_hand_is_left_as_it_is(offered):
    for name in UNPACKED:
        (offered.folder / name).parent.mkdir(parents=True, exist_ok=True)
        (offered.folder / name).write_bytes(b"mine")
    offered.bring()
    assert offered.asked == []
    assert set(offered.there().values()) == {b"mine"}
    assert "set/labels there, not by this command: left unchecked" in offered.said[1]


def test_what_else_lies_in_the_folder_stays(offered):
    (offered.folder / "set" / "labels").mkdir(parents=True)
    (offered.folder / "set" / "labels" / "notes.txt").write_bytes(b"mine")
    (offered.folder / "set" / "labels" / "labels.zip.partial").mkdir()
    offered.benchmark = replace(
        offered.benchmark,
        archives=(replace(offered.benchmark.archives[0], holds=("set/labels/1.txt",)),),
    )
    offered.bring()
    assert offered.there() == {**LABELS, "set/labels/notes.txt": b"mine"}


def test_without_a_checksum_it_is_said_and_the_sum_that_came_is_printed(tmp_path):
    with serving() as server:
        offered = Offered(server, tmp_path, sha256=None, size=10**6)
        offered.bring()
        got = hashlib.sha256(offered.images).hexdigest()
        assert f"images.tar: no checksum is known to compare with; its SHA-256 is {got}" in offered.said
        record = json.loads((offered.folder / RECORDS / "images.tar.json").read_text())
        assert record == {"sha256": got, "files": 2, "bytes": 256 * 1024 + 1}


def test_an_archive_that_needs_a_person_is_explained_and_the_others_are_brought(tmp_path):
    with serving() as server:
        offered = Offered(server, tmp_path, url=None)
        offered.benchmark = replace(offered.benchmark, manual="Ask the cat, and put it into {folder}")
        assert offered.refusal().startswith("images.tar: download by hand, as said above")
        assert offered.said[-1] == f"Ask the cat, and put it into {offered.folder}"
        assert offered.there() == LABELS
        (offered.folder / "images.tar").write_bytes(offered.images)
        offered.bring()
        assert offered.there() == UNPACKED


@pytest.mark.parametrize("slash", ["", "/"])
def test_a_mirror_has_the_archives_under_their_names(tmp_path, slash):
    with serving() as server:
        offered = Offered(server, tmp_path, url=None)
        server.files = {f"/mine{path}": content for path, content in server.files.items()}
        offered.bring(mirror=f"{server.url}/mine{slash}")
        assert offered.asked == ["/mine/labels.zip", "/mine/images.tar"]
        assert offered.there() == UNPACKED


def test_a_missing_file_is_said_with_its_address(offered):
    del offered.server.files["/images.tar"]
    assert f"{offered.server.url}/images.tar: not there (404)" in offered.refusal()
    assert offered.there() == LABELS


@pytest.mark.parametrize(
    ("hostile", "message"),
    [
        pytest.param({"set/images/2.jpg": b"", "../../out": b""}, "leads out", id="a path out"),
        pytest.param({"set/images/2.jpg": bytes(10**6 + 1)}, "unpacks to more", id="too large"),
        pytest.param({"other/images/2.jpg": b"2"}, "holds no set/images", id="another layout"),
        pytest.param({}, "holds no set/images", id="empty"),
    ],
)
def test_nothing_of_a_hostile_or_wrong_archive_is_kept_unpacked(tmp_path, hostile, message):
    with serving() as server:
        content = write_tar(tmp_path / "hostile.tar", hostile, "w:")
        offered = Offered(server, tmp_path, size=len(content), sha256=hashlib.sha256(content).hexdigest())
        server.files["/images.tar"] = content
        assert message in offered.refusal()
        assert offered.there() == LABELS
        assert not (tmp_path / "out").exists()
        assert sorted(path.name for path in (offered.folder / RECORDS).iterdir()) == ["labels.zip.json"]


def test_a_disk_without_space_is_said_before_anything_is_asked_for(tmp_path):
    with serving() as server:
        offered = Offered(server, tmp_path, unpacked_limit=10**18)
        message = offered.refusal()
        assert "are free on this disk, up to 1000000.0 TB are needed" in message
        assert "--remove-archives" in message
        assert offered.asked == []


def test_space_may_be_just_enough(tmp_path):
    check_space(1000, 1000, tmp_path)
    with pytest.raises(DownloadError, match=r"999 B are free on this disk, up to 1.0 kB are needed"):
        check_space(999, 1000, tmp_path)


def test_space_is_counted_at_the_fullest_moment(tmp_path):
    def archive(name, size, unpacked):
        return replace(BENCHMARKS[0].archives[0], name=name, size=size, unpacked_limit=unpacked, sha256=None)

    first, second = archive("a.zip", 100, 300), archive("b.zip", 1000, 10)
    keep, remove = DownloadOptions(), DownloadOptions(remove_archives=True)
    assert needed_space([first], tmp_path, keep) == needed_space([first], tmp_path, remove) == 400
    assert needed_space([first, second], tmp_path, keep) == 1410
    assert needed_space([first, second], tmp_path, remove) == 300 + 1010
    (tmp_path / "b.zip.partial").write_bytes(bytes(600))
    assert needed_space([first, second], tmp_path, keep) == 810
    (tmp_path / "b.zip").write_bytes(bytes(1000))
    assert needed_space([first, second], tmp_path, keep) == 410
    assert needed_space([], tmp_path, keep) == 0


def test_a_folder_that_cannot_be_made_is_said(offered):
    offered.folder.write_text("a file")
    assert "cannot be made or written to" in offered.refusal()


@pytest.mark.parametrize(
    ("count", "text"),
    [(0, "0 B"), (999, "999 B"), (1000, "1.0 kB"), (19_336_861_798, "19.3 GB"), (2 * 10**12, "2.0 TB")],
)
def test_sizes_are_for_people(count, text):
    assert in_bytes(count) == text
