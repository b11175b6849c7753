"""The flags of each command, and how option fields become flags."""

import argparse
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import pytest

from tests.unit.training.command_line import flags_of
from training.__main__ import main
from training.cli.commands import COMMANDS
from training.cli.flags import add_fields, read
from training.recipes.recipes import RECIPES

OF_DATA = "--data --format --split --hold-out --bits --classes --recipe"
OF_SETTINGS = (
    "--input --epochs --batch --lr --warmup --weight-decay --seed --dfl --balance --information --coverage "
    "--path-information --path-coverage --soft-paths "
    "--distill --mosaic --mixup --copy-paste --flip-horizontal --flip-vertical --close-mosaic --fixed-top-k "
    "--accumulate --freeze-bn --balance-classes --patience --evaluate-every --workers --deterministic "
    "--precision"
)
OF_A_RUN = (
    f"{OF_DATA} --val-split {OF_SETTINGS} --variant --experts --top-k --placement --expert --router "
    "--paths --weights --device --tensorboard --quiet"
)
OF_AN_EXPORT = (
    "--name --repository --target --precision --execution --calibration --weight-threshold --choose-on "
    "--baseline-images --unproved --last --metric-prefix --attribution --quiet"
)
MEASURED = f"{OF_DATA} --top-k --weight-threshold --json --quiet"
# What can be written after each command: scripts of others rely on it.
FLAGS = {
    "train": f"--run --like {OF_A_RUN}",
    "check": f"DATA --task --input --output --images --val-split --quiet {OF_DATA}",
    "look": f"--output --epoch --images --pictures --like {OF_A_RUN}",
    "evaluate": f"checkpoint --url --model --backend --plots --matrix-conf --matrix-iou {MEASURED}",
    "compare": f"first second --top-k --second-top-k --draws --json --quiet {OF_DATA}",
    "compare-seeds": f"runs --against --top-k --second-top-k --draws --json --quiet {OF_DATA}",
    "inspect": f"checkpoint --output --layer {MEASURED}",
    "predict": "CHECKPOINT SOURCE --output --conf --iou --max-det --classes --top-k --weight-threshold "
    "--bits --device --no-draw --save-txt --save-conf --save-json --quiet",
    "export": f"checkpoint --calibration-split --batch --experts --top-k {OF_AN_EXPORT} {OF_DATA}",
    "train-export": f"--run {OF_A_RUN} {OF_AN_EXPORT}",
    "convert": "file --output --input --expect",
    "prune": "checkpoint --output --keep --min-share --top-k --val-split --no-latency --json --quiet "
    f"{OF_DATA}",
    "halve": "checkpoint --output",
    "baseline": f"artifact --folder --images --training-split --quiet {OF_DATA}",
    "experts-report": f"checkpoint --artifact --quiet {OF_DATA}",
    "exports": "--repository --json",
    "triton-config": "--repository --name --instances --max-queue --queue-timeout --threads --device "
    "--max-batch --batch-delay --pin-threads --upgrade-manifests",
    "copy-repository": "--repository --to --quiet",
    "benchmark": "checkpoint --variant --peer --input --top-k --engine --precision --threads --batch "
    "--rounds --profile --throughput --memory --plot --json --quiet",
    "pareto": "checkpoint --top-k --weight-threshold --peer --peer-map --against --precision --rounds "
    f"--timed-images --plot --json --quiet {OF_DATA}",
    "ablations": "--output --table --row --list --val-split --scenes --input --epochs --batch --seeds "
    f"--quiet {OF_DATA}",
    "variants": "--json",
    "download": "NAME --to --from --remove-archives --list --quiet",
}


def test_the_table_has_every_command():
    assert FLAGS.keys() == COMMANDS.keys()


@pytest.mark.parametrize("command", FLAGS)
def test_each_command_has_these_flags_and_no_other(command):
    assert flags_of(command) == set(FLAGS[command].split())


@dataclass(frozen=True)
class Cake:
    """Options of every form."""

    flour: Path
    eggs: int = 2
    heat_s: float = 1800.0
    fruit: Literal["apple", "plum"] = "apple"
    tin_hw: tuple[int, int] | None = None
    toppings: tuple[Literal["nuts", "icing"], ...] = ("nuts",)
    glaze: bool = False
    oven: str | None = None


def baked(*argv):
    parser = argparse.ArgumentParser()
    add_fields(
        parser, Cake, {name: f"the {name}" for name in ("eggs N", "heat_s", "fruit", "toppings", "glaze")}
    )
    add_fields(parser, Cake, {"flour --from BAG": "the flour", "tin_hw --tin SIZE": "the tin"})
    return read(Cake, parser.parse_args([*argv, "--from", "bag"])), parser.format_help()


def test_what_is_not_written_has_the_default_of_its_field():
    cake, said = baked()
    assert cake == Cake(flour=Path("bag"))
    for default in ("(default: 2)", "(default: 1800)", "(default: apple)", "(default: nuts)"):
        assert default in " ".join(said.split())
    assert said.count("default:") == 4, "None and a flag without value need no words"


def test_what_is_written_has_the_form_of_its_field():
    cake, _ = baked(
        *("--eggs", "3", "--heat", "60", "--fruit", "plum", "--tin", "20x30", "--glaze"),
        *("--toppings", "icing", "--toppings", "nuts"),
    )
    assert cake == Cake(Path("bag"), 3, 60.0, "plum", (20, 30), ("icing", "nuts"), glaze=True)


@pytest.mark.parametrize(
    "wrong", [("--eggs", "0"), ("--fruit", "pear"), ("--toppings", "x"), ("--heat", "hot")]
)
def test_what_no_field_takes_is_wrong_usage(wrong, capsys):
    with pytest.raises(SystemExit) as stopped:
        baked(*wrong)
    assert stopped.value.code == 2
    assert wrong[0] in capsys.readouterr().err


def test_what_no_flag_says_can_be_given_and_what_has_no_default_has_to_be_written():
    parser = argparse.ArgumentParser()
    add_fields(parser, Cake, {"flour": "the flour", "eggs": "how many", "oven": "which"}, oven=("gas",))
    assert read(Cake, parser.parse_args(["--flour", "bag"]), oven="gas") == Cake(Path("bag"), oven="gas")
    assert read(Cake, parser.parse_args(["--flour", "bag", "--oven", "gas"])).oven == "gas"
    for wrong in ([], ["--flour", "bag", "--oven", "fire"]):
        with pytest.raises(SystemExit):
            parser.parse_args(wrong)


def help_of(capsys, monkeypatch, *argv):
    monkeypatch.setenv("COLUMNS", "500")  # argparse breaks lines at hyphens too
    with pytest.raises(SystemExit):
        main([*argv, "--help"])
    return " ".join(capsys.readouterr().out.split())


@pytest.mark.parametrize(
    ("argv", "shown"),
    [
        ((), ["(quick: 256x256)", "data (quick: 8)", "evaluation to the next (quick: 4)"]),
        (
            ("--recipe", "small-data"),
            [
                "HEIGHTxWIDTH (small-data: 640x640)",
                "passes over the data (small-data: 100)",
                "images per step (small-data: 8)",
                "with it (small-data: 0.0014)",
                "upright direction, such as cells (small-data: 0)",
                "horizontal flip (small-data: 0.5)",
                "this process may use, 1 to 8 (small-data: auto)",
                "one for each (small-data: off)",  # sparsight draws several
            ],
        ),
        (
            ("--recipe", "paper", "--variant", "esmoe-s"),
            ["data (paper: 600)", "pasted on (paper: 0.15)", "their overlap (paper: 0)", "each (paper: on)"],
        ),
    ],
)
def test_help_shows_what_the_recipe_decides(capsys, monkeypatch, argv, shown):
    said = help_of(capsys, monkeypatch, "train", *argv)
    for each in shown:
        assert each in said


@pytest.mark.parametrize("recipe", RECIPES)
def test_every_recipe_shows_all_its_values(capsys, monkeypatch, recipe):
    assert help_of(capsys, monkeypatch, "train", "--recipe", recipe).count(f"({recipe}: ") == len(
        OF_SETTINGS.split()
    )


@pytest.mark.parametrize("argv", [["--help"], ["evaluate", "--help"], ["download", "--help"]])
def test_help_is_there_at_once_without_torch(argv):
    program = (
        "import sys\n"
        "from training.__main__ import main\n"
        f"try: main({argv})\n"
        "except SystemExit as stopped: assert stopped.code == 0\n"
        "assert 'torch' not in sys.modules and 'openvino' not in sys.modules\n"
    )
    subprocess.run([sys.executable, "-c", program], check=True, capture_output=True, timeout=60)
