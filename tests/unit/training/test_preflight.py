"""What a training would only find out hours later is an error before its first step."""

import shutil
import subprocess
import sys
from collections import namedtuple

import pytest

from tests.unit.training.command_line import failure
from tests.unit.training.yolo_folder import BOX, write_split
from training.__main__ import main
from training.data.open import open_dataset
from training.data_config import FolderConfig
from training.errors import ConfigError
from training.models.variants import model_config
from training.workflows import preflight
from training.workflows.preflight import Split, check_folder, check_space, findings, weight_bytes

DOG = BOX.replace("0 ", "1 ", 1)


@pytest.fixture
def folder(tmp_path):
    """Return three training and two validation images with a cat each, and a dog in the first."""
    write_split(tmp_path / "data", "train", [f"{BOX}\n{DOG}", BOX, BOX])
    write_split(tmp_path / "data", "val", [f"{BOX}\n{DOG}", BOX])
    return tmp_path / "data"


def train(folder, *more):
    run = folder.parent / "run"
    quick = ["--variant", "yolov12-n", "--input", "64", "--epochs", "1", "--batch", "2", "--workers", "0"]
    return ["train", "--run", str(run), "--data", str(folder), *quick, "--quiet", *more]


def found_in(folder, input_hw=(64, 64), splits=("train", "val")):
    opened = [(split, open_dataset(FolderConfig(root=str(folder), split=split))) for split in splits]
    return findings([Split.of(name, data, input_hw) for name, data in opened], input_hw, "mAP50-95")


def test_a_good_data_set_has_neither_problems_nor_oddities(folder):
    assert found_in(folder) == ([], [])


@pytest.mark.parametrize(
    ("split", "message"),
    [
        ("train", "training data: 3 images and no labelled object to learn from (images without objects"),
        ("val", "validation data: 2 images and no labelled object to measure on (images without objects"),
    ],
)
def test_a_split_without_objects_is_refused_before_the_first_step(capsys, folder, split, message):
    write_split(folder, split, [""] * (3 if split == "train" else 2))
    assert message in failure(capsys, *train(folder))
    assert not (folder.parent / "run").exists()


def test_chosen_classes_without_an_object_are_refused(capsys, folder):
    write_split(folder, "train", [BOX, BOX, BOX])
    said = failure(capsys, *train(folder, "--classes", "dog"))
    assert "training data: 3 images and no labelled object to learn from" in said


@pytest.mark.parametrize(
    ("share", "refused"),
    [
        pytest.param(2 / 64, False, id="2 px at 64"),
        pytest.param(1.9 / 64, True, id="less than 2 px at 64"),
    ],
)
def test_objects_that_are_all_too_small_at_this_input_are_refused(folder, share, refused):
    write_split(folder, "train", [f"0 0.5 0.5 {share:.6f} 0.5"] * 3, image_hw=(640, 640))
    problems, odd = found_in(folder)
    assert odd == (["train: no object of dog; the model cannot learn them"] if not refused else odd)
    if refused:
        (problem,) = problems
        assert problem.startswith(
            "train: all 3 objects are less than 2 px wide or high at --input 64, so none"
        )
        assert "--input 96 makes half of them larger" in problem
    else:
        assert problems == []


def test_some_small_objects_are_counted(folder):
    tiny = "0 0.5 0.5 0.5 0.01"
    write_split(folder, "train", [f"{BOX}\n{DOG}", tiny, tiny])
    assert found_in(folder) == (
        [],
        ["train: 2 of 4 objects are less than 2 px wide or high at --input 64; training passes over them"],
    )


@pytest.mark.parametrize("content", [b"", b"no image", b"\x89PNG\r\n\x1a\n", "half"])
@pytest.mark.parametrize(("split", "images"), [("train", 3), ("val", 2)])
def test_an_image_that_cannot_be_decoded_is_named_before_the_first_step(
    capsys, folder, split, images, content
):
    path = folder / "images" / split / "1.png"
    whole = path.read_bytes()
    path.write_bytes(whole[:40] if content == "half" else content)
    said = failure(capsys, *train(folder))
    assert f"1 of {images} images cannot be decoded: {path}: " in said
    assert not (folder.parent / "run").exists()


def test_the_same_images_under_another_name_are_said_to_flatter(capsys, folder):
    for number in range(2):
        shutil.copy(folder / f"images/train/{number}.png", folder / f"images/val/{number}.png")
    _, (said,) = found_in(folder)
    assert said.startswith(
        "validating on what is trained on, which flatters the mAP50-95: every image of val"
    )


def test_some_images_that_are_also_trained_on_are_counted_and_named(folder):
    (folder / "images" / "val" / "1.png").unlink()
    (folder / "labels" / "val" / "1.txt").rename(folder / "labels" / "val" / "other.txt")
    shutil.copy(folder / "images/train/2.png", folder / "images/val/other.png")
    _, (said,) = found_in(folder)
    pair = f"{folder / 'images/val/other.png'} = {folder / 'images/train/2.png'}"
    assert said == f"1 of 2 images of val are also in train, which flatters the mAP50-95: {pair}"


def test_copies_in_a_split_are_named(folder):
    shutil.copy(folder / "images/train/0.png", folder / "images/train/2.png")
    _, (said,) = found_in(folder)
    assert said.startswith("train: copies of other images: 1 (")


def test_classes_without_objects_are_said_for_each_split(folder):
    write_split(folder, "train", [BOX] * 3)
    write_split(folder, "val", [DOG] * 2)
    assert found_in(folder).odd == [
        "train: no object of dog; the model cannot learn them",
        "val: no object of cat; the mean leaves them out",
    ]


def test_a_run_folder_that_is_a_file_is_refused(tmp_path):
    (tmp_path / "taken").write_text("")
    for folder in (tmp_path / "taken", tmp_path / "taken" / "below"):
        with pytest.raises(ConfigError, match=r"--run .*taken is a file; give a folder"):
            check_folder(folder, "--run")
    check_folder(tmp_path / "new" / "below", "--run")
    assert list(tmp_path.iterdir()) == [tmp_path / "taken"], "a check writes nothing"


def test_a_folder_that_may_not_be_written_is_refused(monkeypatch, tmp_path):
    monkeypatch.setattr(preflight.os, "access", lambda *_: False)
    with pytest.raises(ConfigError, match="no permission to write into"):
        check_folder(tmp_path / "new", "--run")


@pytest.mark.parametrize(("free", "enough"), [(10**9, True), (10**9 - 1, False)])
def test_a_disk_must_have_the_space_that_is_needed(monkeypatch, tmp_path, free, enough):
    usage = namedtuple("usage", "free")
    monkeypatch.setattr(preflight.shutil, "disk_usage", lambda _: usage(free))
    if enough:
        check_space(tmp_path / "run", 10**9, "the checkpoints of the run")
    else:
        with pytest.raises(ConfigError, match=r"need about 1\.00 GB, and the disk has 1\.00 GB left"):
            check_space(tmp_path / "run", 10**9, "the checkpoints of the run")


def test_the_checkpoints_of_a_run_fit_into_the_space_that_is_asked_for(capsys, folder):
    assert main(train(folder)) == 0
    files = (folder.parent / "run").glob("*.safetensors")
    needed = preflight.STATE_TIMES * weight_bytes(model_config("yolov12-n", ("cat", "dog"), (64, 64)))
    written = sum(path.stat().st_size for path in files)
    assert 0.4 * needed < written < needed, "each file is once more there while it is written"


def test_a_run_without_disk_space_is_refused(capsys, monkeypatch, folder):
    usage = namedtuple("usage", "free")
    monkeypatch.setattr(preflight.shutil, "disk_usage", lambda _: usage(10**6))
    assert "the checkpoints of the run need about 0.11 GB" in failure(capsys, *train(folder))


def test_what_an_export_needs_is_checked_before_the_training(capsys, monkeypatch, folder, tmp_path):
    (tmp_path / "taken").write_text("")
    train_export = ["train-export", *train(folder)[1:]]
    assert "--name 'No Name'" in failure(capsys, *train_export, "--name", "No Name")
    said = failure(capsys, *train_export, "--name", "a", "--repository", str(tmp_path / "taken"))
    assert "--repository" in said
    assert "is a file" in said
    said = failure(capsys, *train_export, "--name", "a", "--target", "onnx", "--precision", "int8")
    assert "target onnx" in said
    assert not (tmp_path / "run").exists()


def test_a_package_that_the_export_needs_is_named_before_the_training(folder):
    command = ["train-export", *train(folder)[1:], "--name", "a"]
    code = (
        "import sys; sys.modules['openvino'] = None; from training.__main__ import main; sys.exit(main(%r))"
    )
    ran = subprocess.run([sys.executable, "-c", code % command], capture_output=True, text=True, check=False)
    assert (ran.returncode, ran.stdout) == (1, "")
    install = "pip install --constraint constraints.txt '.[train]'"
    assert ran.stderr == f"training: the Python package openvino is missing: {install}\n"
    assert not (folder.parent / "run").exists()
