"""Commands take a run's folder: its best checkpoint, on the run's own data; a longer run is one flag."""

import json

import pytest

from tests.unit.training.command_line import failure
from tests.unit.training.data.small_data import write_image
from training.__main__ import main
from training.data_config import FolderConfig
from training.trainer.checkpoint import BEST_FILE, MODEL_FILE, Position, load_provenance
from training.trainer.loop import Outcome
from training.workflows import export, train

OPTIONS = ["--variant", "yolov12-n", "--input", "64", "--batch", "2", "--workers", "0", "--quiet"]


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    folder = tmp_path_factory.mktemp("cells")
    for split, images in (("train", 2), ("val", 3)):
        for index in range(images):
            write_image(folder / "images" / split / f"{index}.png")
            label = folder / "labels" / split / f"{index}.txt"
            label.parent.mkdir(parents=True, exist_ok=True)
            label.write_text("0 0.5 0.5 0.5 0.5\n")
    (folder / "data.yaml").write_text("train: images/train\nval: images/val\nnames: [cell]\n")
    return folder


@pytest.fixture(scope="module")
def run(data, tmp_path_factory):
    folder = tmp_path_factory.mktemp("run")
    argv = ["train", "--run", str(folder), "--data", str(data), "--epochs", "1", *OPTIONS]
    assert main([*argv, "--evaluate-every", "1"]) == 0
    return folder


def test_evaluate_takes_the_best_checkpoint_and_the_validation_data_of_the_run(capsys, run, data):
    assert main(["evaluate", str(run), "--json", "--quiet"]) == 0
    captured = capsys.readouterr()
    assert json.loads(captured.out)["images"] == 3
    assert captured.err.splitlines()[:2] == [
        f"checkpoint of {run}: best.safetensors, the best by validation",
        f"measuring on split val of {data}",
    ]
    assert main(["evaluate", str(run / MODEL_FILE), "--split", "train", "--json", "--quiet"]) == 0
    captured = capsys.readouterr()
    assert json.loads(captured.out)["images"] == 2
    assert captured.err == f"measuring on split train of {data}\n"


def test_other_data_is_measured_if_it_is_given(capsys, run, data):
    assert main(["evaluate", str(run), "--data", str(data), "--split", "train", "--json", "--quiet"]) == 0
    assert json.loads(capsys.readouterr().out)["images"] == 2


def test_two_runs_are_compared_on_the_data_of_the_first(capsys, run, data):
    assert main(["compare", str(run), str(run / MODEL_FILE), "--draws", "2", "--json", "--quiet"]) == 0
    captured = capsys.readouterr()
    assert json.loads(captured.out)["images"] == 3
    assert f"measuring on split val of {data}" in captured.err


def test_a_run_whose_data_is_elsewhere_asks_for_it(capsys, run, data):
    data.rename(data.with_name("moved"))
    try:
        said = failure(capsys, "evaluate", str(run / BEST_FILE))
    finally:
        data.with_name("moved").rename(data)
    assert f"{data}, the data of the run of {run / BEST_FILE}, is not here; give it with --data" in said


def test_the_starter_is_measured_by_its_name(capsys):
    said = failure(capsys, "evaluate", "starter")
    assert "was trained on starter, but there is no config.json beside it" in said
    assert "give --data" in said


@pytest.fixture
def exported(monkeypatch):
    """Return a list, to which each export appends checkpoint, data and calibration instead of running."""
    given = []

    def note(checkpoint, *_, data, calibration, **__):
        given.append((checkpoint, data, calibration))
        return []

    monkeypatch.setattr(export, "export", note)
    return given


def test_an_export_takes_the_best_checkpoint_and_the_data_of_the_run(run, data, exported):
    assert main(["export", str(run), "--name", "n"]) == 0
    assert main(["export", str(run), "--name", "n", "--last"]) == 0
    assert main(["export", str(run / MODEL_FILE), "--name", "n"]) == 0
    of_run = (FolderConfig(root=str(data), split="val"), FolderConfig(root=str(data), split="train"))
    assert exported == [(run / name, *of_run) for name in (BEST_FILE, MODEL_FILE, MODEL_FILE)]


def test_an_export_whose_run_s_data_is_elsewhere_is_not_measured(capsys, run, data, exported):
    data.rename(data.with_name("moved"))
    try:
        assert main(["export", str(run), "--name", "n"]) == 0
    finally:
        data.with_name("moved").rename(data)
    assert exported[0][1] is None
    said = capsys.readouterr().out
    assert f"not measured: {data}, the data of the run, is not here; give it with --data" in said


def test_an_export_that_cannot_be_written_is_refused_before_it_measures(capsys, monkeypatch, run, tmp_path):
    monkeypatch.setattr(export, "_measure", lambda *_: pytest.fail("it measures"))
    assert "--name 'a b': write lower-case letters" in failure(capsys, "export", str(run), "--name", "a b")
    (tmp_path / "taken").touch()
    argv = ["export", str(run), "--name", "n", "--repository", str(tmp_path / "taken")]
    assert f"--repository {tmp_path / 'taken'}: {tmp_path / 'taken'} is a file" in failure(capsys, *argv)


@pytest.mark.parametrize(("flags", "file"), [([], ""), (["--last"], MODEL_FILE)])
def test_train_export_exports_the_best_checkpoint_unless_told_otherwise(
    monkeypatch, run, exported, flags, file
):
    done = Outcome(True, Position(epoch=1, batch=0, step=1), run / MODEL_FILE)
    monkeypatch.setattr(train, "train", lambda *_, **__: done)
    assert main(["train-export", "--name", "n", "--run", str(run), *flags]) == 0
    assert exported[0][0] == run / file


def test_a_finished_run_is_lengthened_by_one_flag(capsys, run, data):
    argv = ["train", "--run", str(run), "--data", str(data), *OPTIONS]
    assert main([*argv, "--epochs", "2"]) == 0
    assert "epochs 1, now 2: from here on, the learning rate" in capsys.readouterr().out
    assert load_provenance(run / MODEL_FILE)["epoch"] == "2"
    assert main([*argv, "--epochs", "2", "--batch", "4", "--seed", "3"]) == 1
    assert "batch_size 2, now 4; seed 0, now 3. Give the old values, or" in capsys.readouterr().err
