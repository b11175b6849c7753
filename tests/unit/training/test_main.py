"""The command line: parsing, calls and error messages."""

import json
import re

import cv2
import pytest

from tests.unit.training.command_line import failure
from training.__main__ import main
from training.cli.commands import COMMANDS, build_parser
from training.cli.run_flags import train_options
from training.data.scenes.scenes import CLASS_NAMES
from training.data_config import ScenesConfig
from training.models.detector import Detector
from training.models.variants import VARIANTS, model_config
from training.recipes.recipe_data import RECIPES_WITH_DATA
from training.trainer.checkpoint import save_model
from training.workflows import dataset_config


def usage_error(capsys, *argv):
    with pytest.raises(SystemExit) as stopped:
        main(argv)
    assert stopped.value.code == 2
    return capsys.readouterr().err


def test_every_command_of_the_parser_is_carried_out_and_no_other(capsys):
    choices = re.search(r"\(choose from (.*)\)", usage_error(capsys, "paint"))
    assert set(re.findall(r"[\w-]+", choices[1])) == set(COMMANDS)


@pytest.mark.parametrize("argv", [["--help"], *([command, "--help"] for command in COMMANDS)])
def test_every_command_has_help(capsys, argv):
    with pytest.raises(SystemExit) as stopped:
        main(argv)
    assert stopped.value.code == 0
    text = capsys.readouterr().out
    assert text.startswith("usage: python -m training")
    assert len(argv) == 2 or all(command in text for command in COMMANDS)


@pytest.mark.parametrize(
    ("argv", "message"),
    [
        pytest.param([], "required: command", id="no command"),
        pytest.param(["paint"], "invalid choice: 'paint'", id="unknown command"),
        pytest.param(["train"], "required: --run", id="no run folder"),
        pytest.param(
            ["train", "--run", "r", "--recipe", "best"], "invalid choice: 'best'", id="unknown recipe"
        ),
        pytest.param(["train", "--run", "r", "--variant", "x"], "invalid choice: 'x'", id="unknown variant"),
        pytest.param(["train", "--run", "r", "--epochs", "many"], "'many' is not a whole", id="not a number"),
        pytest.param(["train", "--run", "r", "--batch", "0"], "'0' is not a whole", id="below the limit"),
        pytest.param(["evaluate", "m", "--top-k", "-1"], "'-1' is not a whole", id="fewer than no expert"),
        pytest.param(["train", "--run", "r", "--top-k", "1.5"], "'1.5' is not a whole", id="half an expert"),
        pytest.param(["train", "--run", "r", "--experts", "0"], "'0' is not a whole", id="no experts at all"),
        pytest.param(
            ["train", "--run", "r", "--placement", "head"], "invalid choice: 'head'", id="unknown place"
        ),
        pytest.param(["train", "--run", "r", "--dfl", "off"], "invalid float value: 'off'", id="no weight"),
        pytest.param(["look"], "required: --output", id="nowhere to draw"),
        pytest.param(["look", "--output", "a.png", "--epoch", "0"], "'0' is not a whole", id="no such epoch"),
        pytest.param(["inspect"], "required: checkpoint", id="nothing to inspect"),
        pytest.param(["inspect", "m", "--recipe", "best"], "invalid choice: 'best'", id="no such recipe"),
        pytest.param(["export"], "required: --name, checkpoint", id="nothing to export"),
        pytest.param(["benchmark", "--variant", "x"], "invalid choice: 'x'", id="nothing to time"),
        pytest.param(["benchmark", "--engine", "abacus"], "invalid choice: 'abacus'", id="unknown engine"),
        pytest.param(["benchmark", "--precision", "f16"], "invalid choice: 'f16'", id="not timed in it"),
        pytest.param(["benchmark", "--threads", "0"], "'0' is not a whole", id="no thread"),
        pytest.param(["benchmark", "--rounds", "0"], "'0' is not a whole", id="no round"),
        pytest.param(["convert"], "required: file", id="nothing to convert"),
        pytest.param(["convert", "m.pt", "--input", "x"], "'x' is not a size", id="no size to convert to"),
        pytest.param(["download", "imagenet"], "invalid choice: 'imagenet'", id="nothing to download"),
        pytest.param(
            ["evaluate", "--recipe", "paper"],
            "invalid choice: 'paper'",
            id="a recipe without data of its own",
        ),
        pytest.param(["evaluate", "--backend", "gpu"], "invalid choice: 'gpu'", id="unknown backend"),
        pytest.param(["triton-config", "--instances", "0"], "'0' is not a whole", id="no instance"),
        pytest.param(["triton-config", "--device", "TPU"], "invalid choice: 'TPU'", id="unknown device"),
        pytest.param(
            ["export", "m", "--name", "n", "--target", "pt"], "invalid choice: 'pt'", id="unknown target"
        ),
        pytest.param(
            ["export", "m", "--name", "n", "--precision", "f8"],
            "invalid choice: 'f8'",
            id="unknown precision",
        ),
        pytest.param(
            ["export", "m", "--name", "n", "--execution", "lazy"], "invalid choice: 'lazy'", id="unknown way"
        ),
        pytest.param(
            ["export", "m", "--name", "n", "--calibration", "0"], "'0' is not a whole", id="no pictures"
        ),
        pytest.param(["export", "m", "--name", "n", "--batch", "0"], "'0' is not a whole", id="no images"),
        pytest.param(
            ["export", "m", "--name", "n", "--experts", "2"], "invalid choice: '2'", id="not how many experts"
        ),
        pytest.param(
            ["train", "--run", "r", "--expert", "linear"], "invalid choice: 'linear'", id="unknown expert"
        ),
    ],
)
def test_wrong_usage_exits_with_2_and_says_why(capsys, argv, message):
    assert message in usage_error(capsys, *argv)


@pytest.mark.parametrize("size", ["", "x", "640x", "big", "1x2x3", "6.4"])
def test_what_is_not_a_size_is_wrong_usage(capsys, size):
    error = usage_error(capsys, "train", "--run", "r", "--input", size)
    assert f"{size!r} is not a size; write 640 or HEIGHTxWIDTH" in error


@pytest.mark.parametrize(
    ("text", "input_hw"), [("640", (640, 640)), ("384x512", (384, 512)), ("384X512", (384, 512))]
)
def test_a_size_is_height_by_width(text, input_hw):
    argv = ["train", "--run", "r", "--input", text]
    assert train_options(build_parser(argv).parse_args(argv)).overrides == {"model.input_hw": input_hw}


@pytest.mark.parametrize(
    "argv",
    [
        ("evaluate", "gone.safetensors"),
        ("export", "gone.safetensors", "--name", "n"),
        ("train", "--run", "run", "--weights", "gone.safetensors"),
    ],
)
def test_a_missing_checkpoint_is_one_line_and_1(capsys, monkeypatch, tmp_path, argv):
    monkeypatch.chdir(tmp_path)
    said = failure(capsys, *argv)
    assert said.startswith("training: no checkpoint at gone.safetensors; give a .safetensors file, a run's")
    assert list(tmp_path.iterdir()) == []


def test_a_file_that_is_no_checkpoint_is_one_line_and_1(capsys, tmp_path):
    path = tmp_path / "model.safetensors"
    path.write_bytes(b"not a checkpoint")
    assert f"{path} is damaged or not a safetensors file" in failure(capsys, "evaluate", str(path))


def test_a_missing_data_folder_is_one_line_and_1(capsys, tmp_path):
    error = failure(capsys, "train", "--run", str(tmp_path / "run"), "--data", str(tmp_path / "gone"))
    assert f"{tmp_path / 'gone'}: no such folder" in error


def test_a_size_that_cannot_work_is_one_line_and_1(capsys, tmp_path):
    error = failure(capsys, "train", "--run", str(tmp_path / "run"), "--input", "100")
    assert "both sides must be multiples of 32, at least 64" in error
    assert list(tmp_path.iterdir()) == []


def test_a_service_that_is_not_there_is_one_line_and_1(capsys, monkeypatch):
    monkeypatch.setenv("NO_PROXY", "*")
    assert "is the service running?" in failure(capsys, "evaluate", "--url", "http://127.0.0.1:1", "--quiet")


@pytest.mark.parametrize("sources", [[], ["model.safetensors", "--url", "http://127.0.0.1:1"]])
def test_evaluate_takes_a_checkpoint_or_a_service_and_not_both(capsys, sources):
    assert main(["evaluate", *sources]) == 2
    assert capsys.readouterr().err == "training: evaluate takes either a checkpoint or --url\n"


def test_a_service_is_not_told_how_many_experts_to_run(capsys):
    assert main(["evaluate", "--url", "http://127.0.0.1:1", "--top-k", "0"]) == 2
    assert "are for a checkpoint" in capsys.readouterr().err


def test_help_of_train_teaches_every_variant_and_an_ablation(capsys):
    with pytest.raises(SystemExit):
        main(["train", "--help"])
    text = capsys.readouterr().out
    taught = set()
    for family, sizes, task in re.findall(r"([\w-]+)-\{?([nsmlx](?:,[nsmlx])*)\}?(-cls)?\b", text):
        taught |= {f"{family}-{size}{task}" for size in sizes.split(",")}
    for suffix in ("-seg", "-pose", "-obb"):
        assert f"  {suffix} " in text
        taught |= {f"{name}{suffix}" for name in taught if name[-2] == "-"}
    assert set(VARIANTS) == taught
    assert "--placement neck" in text
    assert "--experts 8 --top-k 2" in text


@pytest.mark.parametrize(
    "command", ["train", "evaluate", "compare", "compare-seeds", "inspect", "prune", "export", "train-export"]
)
def test_help_shows_how_a_recipe_is_used_with_its_own_data(capsys, command):
    with pytest.raises(SystemExit):
        main([command, "--help"])
    text = capsys.readouterr().out
    assert ",".join(RECIPES_WITH_DATA) in "".join(text.split())
    examples = text.replace("\\\n", "").splitlines()
    shown = [line for line in examples if line.strip().startswith(f"python -m training {command} ")]
    named = rf"--recipe ({'|'.join(RECIPES_WITH_DATA)}) +--data "
    assert any(re.search(named, line) for line in shown)


def test_look_draws_what_a_run_would_be_shown(capsys, monkeypatch, tmp_path):
    monkeypatch.chdir(tmp_path)
    argv = ("--recipe", "paper", "--variant", "esmoe-s", "--input", "64", "--output", "seen.png")
    assert main(["look", *argv, "--pictures", "5"]) == 0
    assert capsys.readouterr().out == "drew 5 images of epoch 1 into seen.png\n"
    sheet = cv2.imread("seen.png")
    assert sheet.shape == (6 + 2 * 326, 6 + 4 * 326, 3)  # two rows of four, 320 px each, and 6 px between
    assert [path.name for path in tmp_path.iterdir()] == ["seen.png"]


@pytest.mark.parametrize(
    ("argv", "message"),
    [
        (["--output", "seen.png", "--epoch", "9"], "this run has epochs 1..8, not 9"),
        (["--output", "seen.gif"], "seen.gif: images are written as .png, .jpg, .jpeg"),
        (["--output", "gone/seen.png"], "No such file or directory"),
    ],
)
def test_a_look_that_cannot_be_is_one_line_and_1(capsys, monkeypatch, tmp_path, argv, message):
    monkeypatch.chdir(tmp_path)
    assert message in failure(capsys, "look", "--input", "64", "--pictures", "1", *argv)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("flag", ["--model", "--backend"])
def test_what_a_service_is_asked_for_is_wrong_usage_beside_a_checkpoint(capsys, flag):
    assert main(["evaluate", "model.safetensors", flag, "triton"]) == 2
    assert "--model and --backend are for a service: give --url" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("argv", "message"),
    [
        (["--variant", "yolov12-n", "--experts", "2"], "yolov12-n has no mixture"),
        (["--variant", "modular-n", "--placement", "neck"], "the placement of modular-n's mixtures is fixed"),
        (["--variant", "esmoe-n", "--experts", "2", "--top-k", "3"], "top_k=3 is outside 1..num_experts=2"),
        (["--variant", "esmoe-n", "--top-k", "0"], "top_k=0 is outside 1..num_experts=4"),
    ],
)
def test_a_mixture_that_cannot_be_is_one_line_and_1(capsys, tmp_path, argv, message):
    assert message in failure(capsys, "train", "--run", str(tmp_path / "run"), *argv)
    assert list(tmp_path.iterdir()) == []


def checkpoint_of(variant, folder):
    """An untrained detector of the generated scenes' classes."""
    path = folder / "model.safetensors"
    trained_on = {"data": dataset_config.GENERATED}
    save_model(path, Detector(model_config(variant, CLASS_NAMES, (64, 64))), trained_on)
    return str(path)


@pytest.mark.parametrize(
    ("variant", "top_k", "allowed"),
    [("esmoe-n", "0", "1, 2, 3, 4"), ("ultra-n", "5", "0, 1, 2, 3, 4"), ("yolov12-n", "2", "1")],
)
def test_a_top_k_that_the_model_cannot_run_with_is_refused_with_those_it_can(
    capsys, tmp_path, variant, top_k, allowed
):
    error = failure(capsys, "evaluate", checkpoint_of(variant, tmp_path), "--top-k", top_k)
    assert error == f"training: top_k={top_k}: {variant} can run with {allowed}\n"


@pytest.mark.parametrize("top_k", [0, 1, None])
def test_evaluate_runs_as_many_experts_as_it_is_told(capsys, monkeypatch, tmp_path, top_k):
    monkeypatch.setattr(dataset_config, "SCENES_UNSEEN", ScenesConfig(images=2, image_hw=(64, 64)))
    choice = [] if top_k is None else ["--top-k", str(top_k)]
    assert main(["evaluate", checkpoint_of("ultra-n", tmp_path), "--json", "--quiet", *choice]) == 0
    layers = json.loads(capsys.readouterr().out)["experts"]
    assert len(layers) == 3
    for layer in layers:
        ran = sum(layer["expert_share"])
        assert ran == pytest.approx(2 if top_k is None else top_k), "experts run for each picture"


def test_two_checkpoints_are_compared_on_the_same_images(capsys, monkeypatch, tmp_path):
    monkeypatch.setattr(dataset_config, "SCENES_UNSEEN", ScenesConfig(images=3, image_hw=(64, 64)))
    for name in ("mixture", "dense"):
        (tmp_path / name).mkdir()
    mixture = checkpoint_of("sparsight-n", tmp_path / "mixture")
    dense = checkpoint_of("yolov12-n", tmp_path / "dense")
    argv = ("compare", str(mixture), str(dense), "--quiet", "--draws", "20")
    assert main([*argv, "--top-k", "1", "--json"]) == 0
    found = json.loads(capsys.readouterr().out)
    assert (found["images"], found["difference"]["draws"]) == (3, 20)
    assert (found["first"]["name"], found["second"]["name"]) == (
        "first: sparsight-n K=1",
        "second: yolov12-n",
    )
    assert found["first"]["gflops"] < found["second"]["gflops"]
    assert found["difference"]["low"] <= found["difference"]["difference"] <= found["difference"]["high"]
    assert main(argv) == 0
    assert "sparsight-n K=2" in capsys.readouterr().out
    assert "top_k=3: yolov12-n can run with" in failure(capsys, *argv, "--second-top-k", "3")
