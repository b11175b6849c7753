"""Flags of the command line reach the run, or are refused with a one-line message."""

import pytest

from tests.unit.training.command_line import failure, flags_of
from tests.unit.training.data.small_data import write_image
from training.__main__ import main
from training.cli.commands import COMMANDS
from training.export.targets import targets
from training.lab import preview
from training.models.variants import MixtureChoice
from training.trainer.checkpoint import Position
from training.trainer.loop import Outcome
from training.workflows import export, train


@pytest.mark.parametrize("command", [("train", "--run", "r"), ("train-export",)])
def test_what_is_chosen_of_the_mixtures_reaches_the_run(monkeypatch, command):
    asked = []

    class Stop(Exception):
        pass

    def start(options, **_):
        asked.append(options.mixture)
        raise Stop

    monkeypatch.setattr(train, "train", start)
    chosen = ["--placement", "both", "--experts", "3", "--top-k", "1", "--expert", "ghost"]
    chosen += ["--router", "adaptive", "--variant", "esmoe-n"]
    for argv in ([], chosen, ["--paths", "6", "--variant", "sparsight-path-n"]):
        with pytest.raises(Stop):
            main([*command, *argv])
    assert asked == [
        MixtureChoice(),
        MixtureChoice(placement="both", num_experts=3, top_k=1, expert="ghost", router="adaptive"),
        MixtureChoice(paths=6),
    ]


@pytest.mark.parametrize("command", [("train", "--run", "r"), ("train-export",)])
def test_what_is_chosen_of_losses_and_augmentation_reaches_the_run(monkeypatch, command):
    asked = []

    class Stop(Exception):
        pass

    def start(options, **_):
        asked.append(options.overrides)
        raise Stop

    monkeypatch.setattr(train, "train", start)
    chosen = ["--dfl", "0", "--balance", "1.5", "--mosaic", "0.5", "--mixup", "0.25", "--copy-paste", "1"]
    chosen += ["--path-information", "1", "--path-coverage", "0.5", "--soft-paths", "0.25"]
    chosen += ["--information", "0.25", "--coverage", "0", "--distill", "1", "--fixed-top-k"]
    for argv in ([], chosen):
        with pytest.raises(Stop):
            main([*command, *argv])
    assert asked == [
        {},
        {
            "loss.dfl": 0.0,
            "loss.balance": 1.5,
            "augment.mosaic": 0.5,
            "augment.mixup": 0.25,
            "augment.copy_paste": 1.0,
            "loss.information": 0.25,
            "loss.coverage": 0.0,
            "loss.distill": 1.0,
            "top_ks": (),
            "loss.path_information": 1.0,
            "loss.path_coverage": 0.5,
            "soft_paths": 0.25,
        },
    ]


@pytest.mark.parametrize("command", [("train", "--run", "r"), ("train-export",)])
def test_what_is_chosen_of_the_training_reaches_the_run(monkeypatch, command):
    asked = []

    class Stop(Exception):
        pass

    def start(options, **_):
        asked.append((options.overrides, options.tensorboard))
        raise Stop

    monkeypatch.setattr(train, "train", start)
    chosen = ["--accumulate", "2", "--freeze-bn", "--balance-classes", "0.3", "--patience", "5"]
    chosen += ["--deterministic", "--tensorboard"]
    for argv in ([], chosen):
        with pytest.raises(Stop):
            main([*command, *argv])
    every = {
        "accumulate": 2,
        "freeze_batch_norm": True,
        "repeat_threshold": 0.3,
        "patience": 5,
        "deterministic": True,
    }
    assert asked == [({}, False), (every, True)]


def test_look_shows_what_a_balanced_run_is_shown(monkeypatch, tmp_path):
    asked = []

    def draw(options, *_, **__):
        asked.append(options.overrides)
        return 0

    monkeypatch.setattr(preview, "look", draw)
    assert main(["look", "--output", str(tmp_path / "a.png"), "--balance-classes", "0.3"]) == 0
    assert asked == [{"repeat_threshold": 0.3}]


def test_precision_is_that_of_the_training_where_nothing_is_exported(monkeypatch, tmp_path):
    trained = []

    def start(options, **_):
        trained.append(options.overrides.get("precision"))
        return Outcome(True, Position(epoch=1, batch=0, step=1), tmp_path / "model.safetensors")

    monkeypatch.setattr(train, "train", start)
    monkeypatch.setattr(export, "export", lambda *_, **__: [])
    monkeypatch.setattr(targets, "cpu_capabilities", lambda: ["FP32", "BF16"])
    assert main(["train", "--run", str(tmp_path), "--precision", "bf16"]) == 0
    assert main(["train-export", "--precision", "bf16", "--target", "openvino"]) == 0
    assert trained == ["bf16", None]


HAVE_NO_VALIDATION_SPLIT = (
    "evaluate",
    "compare",
    "compare-seeds",
    "inspect",
    "pareto",
    "export",
    "baseline",
    "experts-report",
)
TAKE_SPLITS = {
    "train": ["--run", "r"],
    "train-export": [],
    "check": [],
    "look": ["--output", "a.png"],
    "ablations": ["--output", "out"],
    "evaluate": ["m.safetensors"],
    "compare": ["m.safetensors", "n.safetensors"],
    "compare-seeds": ["runs/m-0", "--against", "runs/n-0"],
    "inspect": ["m.safetensors"],
    "pareto": ["starter"],
    "export": ["m.safetensors", "--name", "m"],
    "baseline": ["m-openvino/1"],
    "experts-report": ["m.safetensors", "--artifact", "m-openvino"],
    "prune": ["m.safetensors", "--keep", "1", "--output", "n.safetensors"],
}


def test_these_commands_take_a_recipe_and_splits():
    flags = {name: flags_of(name) for name in COMMANDS}
    assert {name for name, each in flags.items() if "--split" in each} == TAKE_SPLITS.keys()
    assert all({"--recipe", "--classes"} <= flags[name] for name in TAKE_SPLITS)


@pytest.mark.parametrize("split", ["--split", "--val-split"])
@pytest.mark.parametrize("command", TAKE_SPLITS)
@pytest.mark.parametrize("recipe", ["voc", "starter-choice"])
def test_a_recipe_with_splits_of_its_own_takes_no_others(
    capsys, monkeypatch, tmp_path, command, recipe, split
):
    if split == "--val-split" and command in HAVE_NO_VALIDATION_SPLIT:
        split = "--split"  # all that they have
    monkeypatch.chdir(tmp_path)
    argv = [command, *TAKE_SPLITS[command], "--recipe", recipe, "--data", str(tmp_path)]
    for name in ("train", "val", ""):  # also where it is the default
        said = failure(capsys, *argv, split, name)
        assert f"recipe {recipe} trains and measures on splits of its own: leave {split} out" in said
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    "command",
    sorted(
        TAKE_SPLITS.keys() - {"compare", "compare-seeds", "evaluate", "inspect", "pareto", "experts-report"}
    ),
)  # these take the folder of the run
def test_without_a_folder_there_is_no_split_to_choose(capsys, monkeypatch, tmp_path, command):
    monkeypatch.chdir(tmp_path)
    said = failure(capsys, command, *TAKE_SPLITS[command], "--split", "train")
    assert "generated scenes have no splits: give a folder with --data, or leave --split out" in said
    assert list(tmp_path.iterdir()) == []


def test_other_recipes_take_splits(monkeypatch, tmp_path):
    asked = []

    def draw(options, *_, **__):
        asked.append((options.split, options.val_split))
        return 0

    monkeypatch.setattr(preview, "look", draw)
    argv = ["look", "--output", str(tmp_path / "a.png"), "--data", str(tmp_path)]
    assert main(argv) == main([*argv, "--split", "test", "--val-split", ""]) == 0
    assert asked == [("train", "val"), ("test", None)]


@pytest.mark.parametrize(
    ("argv", "message"),
    [
        (["--mixup", "2"], "mixup=2.0 must be in 0..1"),
        (["--dfl", "-1"], "dfl=-1.0 must be at least 0"),
        (
            ["--variant", "yolov12-n", "--balance", "1"],
            "yolov12-n has no experts: leave balance to its recipe",
        ),
        (["--variant", "yolov12-n", "--fixed-top-k"], "yolov12-n has no experts: leave top_ks to its recipe"),
        (
            ["--variant", "yolov12-n", "--distill", "1"],
            "yolov12-n has no experts: leave distill to its recipe",
        ),
        (
            ["--distill", "1", "--fixed-top-k"],
            "distill=1.0 lets images with top_k 1 learn from all 4 experts, but sparsight-n does not train "
            "with both: top_ks=(); leave distill at 0",
        ),
        (["--variant", "esmoe-n", "--distill", "1"], "esmoe-n does not train with both: top_ks=()"),
        (["--information", "-1"], "information=-1.0 must be at least 0"),
        (["--variant", "yolov12-n", "--router", "pooled"], "yolov12-n has no mixture"),
        (["--paths", "4"], "sparsight-n has a router in every layer and no paths"),
        (["--path-coverage", "1"], "sparsight-n has no paths: leave path_coverage to its recipe"),
        (["--soft-paths", "0.5"], "sparsight-n has no paths: leave soft_paths to its recipe"),
        (["--variant", "sparsight-path-n", "--soft-paths", "2"], "soft_paths=2.0 must be in 0..1"),
        (["--variant", "sparsight-path-n", "--router", "ultra"], "has no routers in its layers"),
        (["--lr", "0"], "lr=0.0 must be positive"),
        (["--flip-vertical", "1.5"], "flip_vertical=1.5 must be in 0..1"),
        (["--device", "tpu"], "no device tpu here; there are: cpu"),
        (["--classes", "disc"], "generated scenes have all their classes"),
        (["--accumulate", "3"], "batch_size=8 cannot be split evenly over accumulate=3"),
        (["--freeze-bn"], "--freeze-bn keeps the statistics of a trained model: give its --weights"),
        (["--balance-classes", "2"], "repeat_threshold=2.0 must be in 0..1"),
    ],
)
def test_a_choice_that_cannot_be_is_one_line_and_1(capsys, tmp_path, argv, message):
    assert message in failure(capsys, "train", "--run", str(tmp_path / "run"), *argv)
    assert list(tmp_path.iterdir()) == []


def test_what_is_chosen_of_the_rest_of_a_recipe_reaches_the_run(monkeypatch, tmp_path):
    asked = []

    def start(options, **_):
        asked.append((options.overrides, options.device, options.classes))
        return Outcome(True, Position(epoch=1, batch=0, step=1), tmp_path / "model.safetensors")

    monkeypatch.setattr(train, "train", start)
    chosen = ["--lr", "0.001", "--warmup", "0.5", "--weight-decay", "0.01", "--seed", "3", "--workers", "0"]
    chosen += ["--flip-horizontal", "0", "--flip-vertical", "0.5", "--close-mosaic", "0"]
    chosen += ["--evaluate-every", "2", "--device", "cpu", "--classes", "disc", "ring"]
    assert main(["train", "--run", "r", *chosen]) == 0
    overrides = {
        "optimizer.lr": 0.001,
        "optimizer.warmup_epochs": 0.5,
        "optimizer.weight_decay": 0.01,
        "seed": 3,
        "loader_workers": 0,
        "augment.flip_horizontal": 0.0,
        "augment.flip_vertical": 0.5,
        "augment.close_mosaic_epochs": 0,
        "evaluate_every_epochs": 2,
    }
    assert asked == [(overrides, "cpu", ("disc", "ring"))]


def test_a_stopped_run_goes_on_with_other_workers_and_with_no_other_rate(capsys, tmp_path):
    argv = ["train", "--run", str(tmp_path / "run"), "--input", "64", "--epochs", "1", "--quiet"]
    argv += ["--data", str(own_folder(tmp_path)), "--batch", "2", "--device", "cpu"]
    assert main([*argv, "--workers", "0"]) == 0
    assert main([*argv, "--workers", "1"]) == 0
    assert "resuming from step 1" in capsys.readouterr().out
    assert "has a run with other settings" in failure(capsys, *argv, "--lr", "0.001")


def own_folder(tmp_path):
    """Return two images of one class, in both splits."""
    for split in ("train", "val"):
        for index in range(2):
            write_image(tmp_path / "own" / "images" / split / f"{index}.png")
        (tmp_path / "own" / "labels" / split).mkdir(parents=True)
        for index in range(2):
            (tmp_path / "own" / "labels" / split / f"{index}.txt").write_text("0 0.5 0.5 0.5 0.5\n")
    (tmp_path / "own" / "data.yaml").write_text("names: [disc]\n")
    return tmp_path / "own"
