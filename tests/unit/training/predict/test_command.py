"""`python -m training predict` draws, writes label files and JSON, and goes on after what cannot be read."""

import json
import os
import re
import signal

import cv2
import numpy as np
import pytest

from tests.builders import build_artifact, build_classifier, golden_image, image_bytes
from tests.unit.training.command_line import failure
from training import load
from training.__main__ import main
from training.predict import outputs
from training.predict.model import Model


@pytest.fixture
def model(tmp_path):
    return str(build_artifact(tmp_path / "repository").folder)


@pytest.fixture
def images(tmp_path):
    folder = tmp_path / "images"
    (folder / "sub").mkdir(parents=True)
    (folder / "a.png").write_bytes(image_bytes(golden_image()))
    (folder / "sub" / "b.jpg").write_bytes(image_bytes(np.full((30, 50, 3), 20, np.uint8), "JPEG"))
    return folder


def video(path, frames=4, size=(64, 48), codec="mp4v"):
    writer = cv2.VideoWriter(str(path), cv2.VideoWriter.fourcc(*codec), 10, size)
    for _ in range(frames):
        writer.write(cv2.resize(golden_image()[..., ::-1], size))
    writer.release()
    return path


def frames_of(path):
    capture, found = cv2.VideoCapture(str(path)), []
    while (read := capture.read())[0]:
        found.append(read[1])
    return found, capture.get(cv2.CAP_PROP_FPS)


def test_images_of_which_a_part_is_not_looked_at_are_counted(model, tmp_path, capsys):
    red = golden_image().astype(np.uint16) * 16
    for name in "ab":
        cv2.imwrite(str(tmp_path / f"{name}.png"), red[..., ::-1])
    argv = ["predict", model, str(tmp_path / "*.png"), "--no-draw", "--output", str(tmp_path / "out")]
    assert main(argv) == 0
    said = capsys.readouterr()
    assert "1 objects" not in said.out
    assert "  images with more than 8 bits per value, read with 8: 2\n" in said.out
    assert said.err.count("of which 12 are used") == 1
    assert main([*argv, "--bits", "16"]) == 0
    assert "of which" not in capsys.readouterr().err


def test_one_image_is_counted_as_one(model, images, tmp_path, capsys):
    argv = ["predict", model, str(images / "a.png"), "--output", str(tmp_path / "out"), "--quiet"]
    assert main(argv) == 0
    assert "1 image, " in capsys.readouterr().out


def test_a_folder_is_drawn_and_written_as_rows_and_json(model, images, tmp_path, capsys):
    out = tmp_path / "out"
    argv = ["predict", model, str(images), "--output", str(out), "--save-txt", "--save-conf", "--save-json"]
    assert main([*argv, "--quiet"]) == 0
    said = capsys.readouterr().out
    assert re.search(
        r"^2 images, [\d.]+ ms each \(median\): 1 objects; nothing found in 1$", said, re.MULTILINE
    )
    assert "  red  1\n" in said
    assert re.search(r"^  backbone.p4: chosen( +\d+%){4}, \d sets of experts$", said, re.MULTILINE)
    files = {str(path.relative_to(out)) for path in out.rglob("*") if path.is_file()}
    assert files == {
        "a.png",
        "sub/b.jpg",
        "labels/a.txt",
        "labels/sub/b.txt",
        "classes.txt",
        "predictions.json",
    }
    found = load(model).predict(images / "a.png")
    drawn = cv2.imread(str(out / "a.png"), cv2.IMREAD_COLOR_RGB)
    np.testing.assert_array_equal(drawn, found.plot())
    row = f"0 0.312500 0.312500 0.500000 0.500000 {found.scores[0]:.6f}\n"  # 4 to 36 of 64 pixels
    assert (out / "labels" / "a.txt").read_text() == row
    assert (out / "labels" / "sub" / "b.txt").read_text() == ""
    assert (out / "classes.txt").read_text() == "red\ngreen\nblue\n"
    first, second = json.loads((out / "predictions.json").read_text())
    assert first["file"] == str(images / "a.png")
    assert first["image"] == {"width": 64, "height": 64}
    (box,) = first["predictions"]
    assert box["confidence"] == pytest.approx(found.scores[0], abs=1e-6)
    del box["confidence"]
    assert box == {"x": 20, "y": 20, "width": 32, "height": 32, "class": "red", "class_id": 0}
    assert second["predictions"] == []
    assert list(first["experts"]) == ["backbone.p4", "backbone.p5"]


def test_names_that_are_no_text_or_very_long_are_written(model, tmp_path, capsys):
    folder = tmp_path / "images"
    folder.mkdir()
    names = [os.fsdecode(b"\xff.png"), "x" * 251 + ".png"]
    for name in names:
        (folder / name).write_bytes(image_bytes(golden_image()))
    out = tmp_path / "out"
    assert main(["predict", model, str(folder), "--output", str(out), "--save-json", "--save-txt"]) == 0
    assert {path.name for path in out.glob("*.png")} == set(names)
    documents = json.loads((out / "predictions.json").read_text(encoding="utf-8"))
    assert {document["file"] for document in documents} == {str(folder / name) for name in names}


def test_what_cannot_be_read_is_said_and_the_others_are_done(model, images, tmp_path, capsys):
    (images / "torn.jpg").write_bytes(image_bytes(golden_image(), "JPEG")[:90])
    (images / "empty.png").write_bytes(b"")
    (images / "notes.txt").write_text("no image")
    argv = [
        "predict",
        model,
        str(images),
        str(images / "gone.png"),
        "--output",
        str(tmp_path / "out"),
        "--quiet",
    ]
    assert main(argv) == 1
    said = capsys.readouterr()
    assert "gone.png: no such file or folder\n" in said.err
    assert f"{images}/torn.jpg: the JPEG header is truncated" in said.err
    assert f"{images}/empty.png: " in said.err
    assert "3 of the sources could not be read" in said.err
    assert "neither images nor videos, passed over: 1 .txt\n" in said.out
    assert "2 images, " in said.out
    assert (tmp_path / "out" / "a.png").is_file()
    assert not list((tmp_path / "out").rglob(".*")), "no partial file is left"


def test_a_video_is_drawn_as_a_video(model, tmp_path, capsys):
    clip = video(tmp_path / "clip.avi", size=(64, 34), codec="MJPG")
    out = tmp_path / "out"
    assert (
        main(["predict", model, str(clip), "--output", str(out), "--save-txt", "--save-json", "--quiet"]) == 0
    )
    assert "4 images, " in capsys.readouterr().out
    drawn, fps = frames_of(out / "clip.mp4")
    assert len(drawn) == 4
    assert fps == 10
    assert [each["frame"] for each in json.loads((out / "predictions.json").read_text())] == [0, 1, 2, 3]
    assert sorted(path.name for path in (out / "labels").iterdir())[-1] == "clip_000003.txt"


def test_a_damaged_video_is_done_as_far_as_it_goes(model, tmp_path, capsys):
    clip = video(tmp_path / "clip.avi", frames=20, codec="MJPG", size=(320, 240))
    clip.write_bytes(clip.read_bytes()[: clip.stat().st_size // 2])
    assert main(["predict", model, str(clip), "--output", str(tmp_path / "out"), "--quiet"]) == 1
    assert re.search(r"clip.avi: damaged, only \d+ of about 20 frames", capsys.readouterr().err)
    assert 4 < len(frames_of(tmp_path / "out" / "clip.mp4")[0]) < 18


def test_without_an_encoder_frames_are_written(model, tmp_path, monkeypatch):
    class NoEncoder:
        fourcc = cv2.VideoWriter.fourcc

        def __init__(self, *_):
            pass

        def isOpened(self):  # noqa: N802  OpenCV's name
            return False

        def release(self):
            pass

    clip = video(tmp_path / "clip.mp4", frames=2)
    monkeypatch.setattr(outputs.cv2, "VideoWriter", NoEncoder)
    assert main(["predict", model, str(clip), "--output", str(tmp_path / "out"), "--quiet"]) == 0
    assert sorted(path.name for path in (tmp_path / "out").rglob("*.*")) == ["000000.jpg", "000001.jpg"]


def test_an_odd_size_keeps_its_last_row_and_column(tmp_path):
    drawn = outputs._Video(tmp_path / "odd.mp4", (33, 47), 5.0)
    drawn.add(np.zeros((33, 47, 3), np.uint8))
    drawn.add(np.zeros((90, 90, 3), np.uint8))  # a stream may change its size
    drawn.close()
    assert [frame.shape for frame in frames_of(tmp_path / "odd.mp4")[0]] == [(34, 48, 3)] * 2


def test_ctrl_c_keeps_what_was_written(model, tmp_path, monkeypatch, capsys):
    clip, out, run, runs = video(tmp_path / "clip.mp4", frames=9), tmp_path / "out", Model.run, []

    def stop_in_the_third(self, *given):
        runs.append(1)
        if len(runs) == 3:
            os.kill(os.getpid(), signal.SIGINT)
        return run(self, *given)

    monkeypatch.setattr(Model, "run", stop_in_the_third)
    argv = ["predict", model, str(clip), str(clip), "--output", str(out), "--save-json", "--quiet"]
    assert main(argv) == 130
    said = capsys.readouterr()
    assert "3 images, " in said.out
    assert "stopped before the end; what was written stays" in said.err
    assert len(frames_of(out / "clip.mp4")[0]) == 3
    assert len(json.loads((out / "predictions.json").read_text())) == 3


def test_a_classifier_writes_its_best_classes(tmp_path, images, capsys):
    model = str(build_classifier(tmp_path / "repository").folder)
    out = tmp_path / "out"
    argv = ["predict", model, str(images), "--output", str(out), "--save-txt", "--save-json", "--no-draw"]
    assert main([*argv, "--quiet"]) == 0
    best = load(model).predict(images / "a.png")
    first = f"{best.scores[0]:.4f} {best.class_names[0]}\n"
    assert (out / "labels" / "a.txt").read_text().startswith(first)
    assert not (out / "a.png").exists()
    rows = json.loads((out / "predictions.json").read_text())[0]["predictions"]
    assert [row["class"] for row in rows] == best.class_names
    assert "x" not in rows[0]
    assert re.search(r"2 images, .*: 2 likeliest classes$", capsys.readouterr().out, re.MULTILINE)


def test_nothing_is_begun_that_cannot_be_done(model, images, tmp_path, capsys):
    (tmp_path / "taken").mkdir()
    (tmp_path / "taken" / "file").touch()
    empty = str(tmp_path / "taken")
    assert "nothing to predict on" in failure(capsys, "predict", model, empty, "--output", str(images))
    taken = str(tmp_path / "taken" / "file")
    said = failure(capsys, "predict", model, str(images), "--output", taken)
    assert f"--output {taken}: {taken} is a file; give a folder" in said
    argv = ["predict", model, str(images / "a.png"), "--output", str(images)]
    assert "a.png would be replaced by its drawing: name another --output" in failure(capsys, *argv)
    out = ["--output", str(tmp_path / "out")]
    assert "give both" in failure(capsys, "predict", model, str(images), "--save-conf", *out)
    assert "no class 'whale'" in failure(capsys, "predict", model, str(images), "--classes", "whale", *out)
    assert "no such file" in failure(capsys, "predict", "nowhere.safetensors", str(images), *out)
    assert not (tmp_path / "out").exists()
