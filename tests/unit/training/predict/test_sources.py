"""What a command line names becomes a list of images, videos and streams."""

from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from threading import Thread

import cv2
import numpy as np
import pytest

from training.errors import DatasetError
from training.predict.sources import FrameReader, Source, find_sources


@pytest.fixture(autouse=True)
def here(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)


def make(*names):
    for name in names:
        Path(name).parent.mkdir(parents=True, exist_ok=True)
        Path(name).write_bytes(b"")


def shown(found):
    return [(each.kind, str(each.where), each.name) for each in found.sources]


def test_a_folder_is_searched_with_its_subfolders_and_the_rest_is_counted():
    make(
        "day/b.PNG",
        "day/one/a.jpg",
        "day/one/dive.MOV",
        "day/._a.jpg",
        "day/notes.txt",
        "day/more.TXT",
        "day/x",
    )
    found = find_sources(["day"], Path("out"))
    assert shown(found) == [
        ("image", "day/b.PNG", "b"),
        ("image", "day/one/a.jpg", "one/a"),
        ("video", "day/one/dive.MOV", "one/dive"),
    ]
    assert found.passed_over == {".txt": 2, "no suffix": 1}
    assert found.problems == []


def test_a_pattern_keeps_the_folders_below_its_own():
    make("a/1.jpg", "a/b/2.jpg", "a/b/3.txt", "a/folder.jpg/4.png")
    assert shown(find_sources(["a/**/*.jpg"], Path("out"))) == [
        ("image", "a/1.jpg", "1"),
        ("image", "a/b/2.jpg", "b/2"),
    ]
    (absolute,) = find_sources([f"{Path.cwd()}/a/b/*.jpg"], Path("out")).sources
    assert absolute.name == "2"
    make("b/1.jpg", "c/1.jpg")
    assert shown(find_sources(["[bc]"], Path("out"))) == [
        ("image", "b/1.jpg", "b/1"),
        ("image", "c/1.jpg", "c/1"),
    ]
    make("plate[1].jpg")
    assert shown(find_sources(["plate[1].jpg"], Path("out"))) == [("image", "plate[1].jpg", "plate[1]")]


def test_names_of_what_is_written_are_unique():
    make("a/1.jpg", "a/1.png", "b/1.jpg")
    assert [each.name for each in find_sources(["a", "b/1.jpg", "b/1.jpg"], Path("out")).sources] == [
        "1",
        "1-2",
        "1-3",
        "1-4",
    ]


def test_earlier_results_are_no_sources():
    make("1.jpg", "predictions/1.jpg", "predictions/deep/2.jpg")
    for word in (".", "**/*.jpg"):
        assert [str(each.where) for each in find_sources([word], Path("predictions")).sources] == ["1.jpg"]


def test_a_folder_inside_the_output_folder_is_searched():
    make("day/1.jpg", "day/deep/2.jpg")
    for word in ("day", "day/**/*.jpg"):
        for output in (Path(), Path("day")):
            assert [each.name for each in find_sources([word], output).sources] == ["1", "deep/2"]


def test_cameras_and_addresses_are_streams_and_passwords_are_not_shown():
    make("7")  # a file goes first
    words = ["0", "/dev/null", "rtsp://me:secret@cam.local:554/h264?x=1", "7"]
    found = find_sources(words, Path("out"))
    assert [each.kind for each in found.sources] == ["stream", "stream", "stream", "image"]
    assert found.sources[0].name == "camera-0"
    assert str(found.sources[2]) == "rtsp://…@cam.local:554/h264?x=1"
    assert found.sources[2].name == "cam.local-554-h264-x-1"


def test_what_is_not_there_is_said_and_the_rest_goes_on():
    make("empty/notes.md", "scan.bin")
    found = find_sources(["nowhere.jpg", "no*.png", "empty", "scan.bin"], Path("out"))
    assert found.problems == [
        "nowhere.jpg: no such file or folder",
        "no*.png: no image or video matches this pattern",
        "empty: no image or video in this folder",
    ]
    assert shown(found) == [("image", "scan.bin", "scan")], "a file that the user names is tried"


@pytest.mark.parametrize(
    ("source", "message"),
    [
        (Source("stream", "63", "a"), "63: no camera has this number"),
        (Source("stream", "/dev/null", "a"), "/dev/null: the camera cannot be read"),
        (Source("stream", "rtsp://me:secret@127.0.0.1:1/x", "a"), "rtsp://…@127.0.0.1:1/x: no stream"),
        (Source("video", Path("clip1.mp4"), "a"), "clip1.mp4: not a video that can be decoded"),
    ],
    ids=["no camera", "no device", "nobody answers", "empty file"],
)
def test_what_cannot_be_opened_is_named(source, message):
    make("clip1.mp4")
    with pytest.raises(DatasetError, match=message):
        FrameReader(source)


class Quiet(SimpleHTTPRequestHandler):
    def log_message(self, *_):
        pass


def test_a_video_at_an_address_ends_as_a_file_does():
    writer = cv2.VideoWriter("clip.mp4", cv2.VideoWriter.fourcc(*"mp4v"), 10, (64, 48))
    for level in range(5):
        writer.write(np.full((48, 64, 3), 40 * level, np.uint8))
    writer.release()
    with ThreadingHTTPServer(("127.0.0.1", 0), Quiet) as server:
        thread = Thread(target=server.serve_forever)
        thread.start()
        try:
            (source,) = find_sources([f"http://127.0.0.1:{server.server_port}/clip.mp4"], Path("out")).sources
            with FrameReader(source) as reader:
                frames = list(reader)
        finally:
            server.shutdown()
            thread.join()
    assert [frame.number for frame in frames] == [0, 1, 2, 3, 4]
    assert reader.fps == 10
