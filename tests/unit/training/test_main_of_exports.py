"""The command line of exports: what reaches them, and what is refused before hours of training."""

from types import SimpleNamespace

import pytest

from tests.unit.training.command_line import failure
from training.__main__ import main
from training.data_config import FolderConfig
from training.export.targets.options import ExportOptions
from training.trainer.checkpoint import Position
from training.trainer.loop import Outcome
from training.workflows import dataset_config, export, train


def test_several_processes_do_not_export(capsys, monkeypatch):
    monkeypatch.setenv("WORLD_SIZE", "2")
    assert "only train runs in several processes: run train-export without" in failure(capsys, "train-export")


@pytest.mark.parametrize(
    ("argv", "options"),
    [
        pytest.param([], ExportOptions(), id="nothing chosen"),
        pytest.param(
            ["--precision", "int8", "--calibration", "128", "--execution", "sparse"],
            ExportOptions(precision="int8", calibration_images=128, execution="sparse"),
            id="for a CPU",
        ),
        pytest.param(
            ["--precision", "f16", "--batch", "8"],
            ExportOptions(precision="f16", fixed_batch=8),
            id="for a GPU",
        ),
        pytest.param(["--experts", "shared"], ExportOptions(experts="shared"), id="for an NPU"),
    ],
)
def test_what_is_chosen_of_an_export_reaches_it(monkeypatch, argv, options):
    asked = []
    monkeypatch.setattr(export, "export", lambda *_, **given: asked.append(given["options"]) or [])
    assert main(["export", "model.safetensors", "--name", "n", *argv]) == 0
    assert asked == [options]


def test_batch_and_experts_of_train_export_are_those_of_training(monkeypatch, tmp_path):
    trained, exported = [], []

    def start(options, **_):
        trained.append((options.overrides["batch_size"], options.mixture.num_experts))
        return Outcome(True, Position(epoch=1, batch=0, step=1), tmp_path / "model.safetensors")

    monkeypatch.setattr(train, "train", start)
    monkeypatch.setattr(export, "export", lambda *_, **given: exported.append(given["options"]) or [])
    argv = ["--run", str(tmp_path), "--batch", "4", "--experts", "3", "--execution", "dense"]
    assert main(["train-export", *argv]) == 0
    assert trained == [(4, 3)]
    assert exported == [ExportOptions(execution="dense")]


def test_an_export_that_cannot_be_is_refused_before_hours_of_training(monkeypatch, capsys):
    monkeypatch.setattr(train, "train", lambda *_, **__: pytest.fail("it trains"))
    assert main(["train-export", "--precision", "f16"]) == 1
    assert "target openvino comes in f32, bf16, int8, not in f16" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("argv", "measured_on"),
    [
        pytest.param([], dataset_config.SCENES_UNSEEN, id="scenes"),
        pytest.param(["--data", "/cells"], FolderConfig(root="/cells", split="val"), id="the usual split"),
        pytest.param(["--data", "/cells", "--val-split", ""], None, id="all is trained on"),
        pytest.param(["--data", "/cells", "--val-split", "train"], None, id="the split of training"),
        pytest.param(
            ["--data", "/coco", "--recipe", "coco"],
            FolderConfig(root="/coco", split="val2017"),
            id="the recipe's own",
        ),
    ],
)
def test_an_export_is_never_measured_on_what_was_trained_on(monkeypatch, capsys, tmp_path, argv, measured_on):
    done = Outcome(True, Position(epoch=1, batch=0, step=1), tmp_path / "model.safetensors")
    given = []
    monkeypatch.setattr(train, "train", lambda *_, **__: done)
    monkeypatch.setattr(export, "export", lambda *_, data, **__: given.append(data) or [])
    assert main(["train-export", *argv]) == 0
    assert given == [measured_on]
    said = capsys.readouterr().out
    assert ("so the export will not be measured" in said) == (measured_on is None)


@pytest.mark.parametrize("split", ["", "train"])
def test_int8_without_pictures_held_out_is_refused_before_hours_of_training(monkeypatch, capsys, split):
    monkeypatch.setattr(train, "train", lambda *_, **__: pytest.fail("it trains"))
    argv = ["--precision", "int8", "--target", "openvino", "--data", "cells", "--val-split", split]
    assert "held-out images: give another --val-split" in failure(capsys, "train-export", *argv)


@pytest.mark.parametrize("name", ["a b/c", "../up", "", "Cells", "-x", "a" * 65])
def test_a_name_that_no_model_can_have_is_refused_before_the_training(capsys, tmp_path, name):
    said = failure(capsys, "train-export", f"--name={name}", "--repository", str(tmp_path))
    assert f"--name {name!r}: write lower-case letters" in said
    assert not list(tmp_path.iterdir())


def test_pictures_for_ranges_are_asked_for_with_8_bits_alone(monkeypatch, capsys):
    exported = []
    monkeypatch.setattr(export, "export", lambda *_, options, **__: exported.append(options) or [])
    argv = ["export", "model.safetensors", "--name", "a", "--data", "cells", "--calibration", "3"]
    assert "--calibration: only --precision int8 takes ranges from images" in failure(capsys, *argv)
    assert main([*argv, "--precision", "int8"]) == 0
    assert exported == [ExportOptions(precision="int8", calibration_images=3)]


def test_the_split_to_choose_defaults_on_is_asked_for_with_any_precision(monkeypatch):
    exported = []
    monkeypatch.setattr(
        export, "export", lambda *_, calibration, **__: exported.append(calibration.split) or []
    )
    argv = ["export", "model.safetensors", "--name", "a", "--data", "cells"]
    assert main(argv) == main([*argv, "--calibration-split", "extra"]) == 0
    assert exported == ["train", "extra"]


def test_the_defaults_of_an_export_are_not_the_top_k_of_a_training(monkeypatch):
    outcome = SimpleNamespace(finished=True, model_path="model.safetensors", best_path=None)
    exported = []
    monkeypatch.setattr(train, "train", lambda *_, **__: outcome)
    monkeypatch.setattr(export, "export", lambda *_, options, **__: exported.append(options) or [])
    assert main(["export", "a.safetensors", "--name", "a", "--top-k", "3", "--weight-threshold", "0.2"]) == 0
    assert main(["train-export", "--variant", "esmoe-n", "--top-k", "3", "--choose-on", "0"]) == 0
    assert exported == [ExportOptions(default_top_k=3, default_threshold=0.2), ExportOptions(choice_images=0)]
