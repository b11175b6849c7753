"""Ablations with real runs of one step: their files, resuming, and failures."""

import json
import shutil
import signal
import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path

import pytest

from tests.unit.training.data.small_data import write_image
from tests.unit.training.messages import collecting
from training.__main__ import main
from training.data_config import ScenesConfig
from training.errors import ConfigError, DatasetError
from training.lab.ablations import command
from training.lab.ablations.command import ablations
from training.lab.ablations.report import as_json, as_list, as_markdown, build_tables
from training.lab.ablations.rows import ROWS, rows_of
from training.lab.ablations.run import (
    RESULT_FILE,
    Progress,
    Result,
    Settings,
    read_result,
    settle,
)
from training.trainer.checkpoint import STATE_FILE
from training.trainer.loop import Trainer
from training.workflows import dataset_config
from training.workflows.train import TrainOptions

ROOT = Path(__file__).resolve().parents[5]
SETTINGS = Settings("quick", "mine", "train", "val", 3, 10, 5, (64, 96), 4, 8)
TINY = ("--input", "64", "--epochs", "1", "--scenes", "8", "--quiet")
NOTHING = Progress(finished={}, failed={}, stopped=False)
TWO_SCENES = ScenesConfig(images=2, seed=1, image_hw=(64, 64))
NECK, BACKBONE = rows_of([5])[1:3]
IMPOSSIBLE = replace(NECK, name="too many", mixture=replace(NECK.mixture, num_experts=2, top_k=3))
BLOCKED = rows_of([6])[0]


@pytest.fixture(scope="module", autouse=True)
def few_scenes():
    with pytest.MonkeyPatch.context() as patched:
        patched.setattr(dataset_config, "SCENES_UNSEEN", TWO_SCENES)
        yield


def options_in(output, **changes):
    return replace(
        TrainOptions(run_dir=output, overrides={"model.input_hw": (64, 64), "epochs": 1}, scenes=8),
        **changes,
    )


def run(rows, options):
    with collecting() as said:
        return ablations(rows, options), said


def result_of(row, output):
    return output / row.run / "seed-0" / RESULT_FILE


@pytest.fixture(scope="module")
def three_rows(tmp_path_factory):
    """A folder that is a file, a row that cannot be built, one that trains; the end, all said, the output."""
    output = tmp_path_factory.mktemp("ablations")
    (output / BLOCKED.run).write_text("no folder")
    return *run((BLOCKED, IMPOSSIBLE, NECK), options_in(output)), output


def cells_of(markdown):
    """Return the cells of every row of its tables, headings among them."""
    rows = [line for line in markdown.splitlines() if line.startswith("| ")]
    return [[cell.strip() for cell in row.split("|")[1:-1]] for row in rows]


def test_rows_are_trained_measured_and_set_beside_the_paper(three_rows):
    ended, _, output = three_rows
    assert ended.markdown == (output / "ablations.md").read_text(encoding="utf-8")
    assert "recipe quick, 1 epoch of 8 images (generated scenes, 5 classes) at 64 × 64, batch 8, seeds 0" in (
        ended.markdown
    )
    assert "measured on 2 images" in ended.markdown
    (neck,) = [line for line in ended.markdown.splitlines() if line.startswith("| neck only |")]
    assert [cell.strip() for cell in neck.split("|")[2:4]] == ["2.49", "2.50"]
    written = json.loads((output / "ablations.json").read_text(encoding="utf-8"))
    assert written["settings"]["seeds"] == [0]
    rows = {row["name"]: row for table in written["tables"] for row in table["rows"]}
    assert rows[NECK.name]["published"]["map50_95"] == 58.2
    (ours,) = rows[NECK.name]["ours"]
    assert Result(**ours) == read_result(result_of(NECK, output).parent)
    assert 0 <= ours["map50_95"] <= ours["map50"] <= 1
    assert list(ours["information_bits"]) == ["neck.p3", "neck.p4", "neck.p5"]


def test_rows_that_fail_are_said_and_the_others_go_on(three_rows):
    ended, said, _ = three_rows
    assert list(ended.progress.finished) == [(NECK.run, 0)]
    assert list(ended.progress.failed) == [(BLOCKED.run, 0), (IMPOSSIBLE.run, 0)]
    failed = f"failed: {IMPOSSIBLE.run}, seed 0: top_k=3 is outside 1..num_experts=2; the next run starts"
    assert failed in said
    assert (
        "Not run or not finished: table 7; table 8; "
        "too many of table 5 (failed: top_k=3 is outside 1..num_experts=2); 2 experts of table 6 (failed: "
    ) in ended.markdown
    assert "Too few rows are finished to compare their order." in ended.markdown


def test_stopped_it_goes_on_in_the_row_under_way_and_repeats_none(three_rows, tmp_path, monkeypatch, capsys):
    output = tmp_path / "copy"
    shutil.copytree(three_rows[2], output)
    first = result_of(NECK, output)
    before = first.stat().st_mtime_ns
    take_step = Trainer._step
    with monkeypatch.context() as patched:  # a real Ctrl-C, inside the one step that there is
        patched.setattr(
            Trainer, "_step", lambda *given: (signal.raise_signal(signal.SIGINT), take_step(*given))[1]
        )
        patched.setattr(command, "rows_of", lambda tables: (NECK, BACKBONE))
        assert main(["ablations", "--output", str(output), *TINY]) == 130
    report = output / "ablations.md"
    ending = f"stopped; the finished rows are in {report}; the same command resumes\n"
    assert capsys.readouterr().out.endswith(ending)
    assert "not finished: table 6; table 7; table 8; backbone only of table 5." in report.read_text("utf-8")
    assert (result_of(BACKBONE, output).parent / STATE_FILE).exists()
    assert not result_of(BACKBONE, output).exists()

    ended, said = run((NECK, BACKBONE), options_in(output))
    assert not ended.progress.stopped
    assert said[:2] == [
        "1 of 2 runs are finished already",
        f"run 2 of 2: {BACKBONE.run}, seed 0; about 1 min left",
    ]
    assert said[2].startswith("resuming from step 1 in ")
    assert first.stat().st_mtime_ns == before
    assert read_result(result_of(BACKBONE, output).parent).resumed

    # More may be asked of the same folder: all four tables have this row, which was trained once.
    ended, said = run([row for row in ROWS if row.run == BACKBONE.run], options_in(output))
    assert said == ["1 of 1 runs are finished already"]
    assert sum(row[-1] == "0" for row in cells_of(ended.markdown)) == 4
    assert "Every row was run." in ended.markdown


def test_an_output_holds_rows_of_one_budget(three_rows):
    options = options_in(three_rows[2])
    for changes, message in (
        (
            {"overrides": {"model.input_hw": (64, 64), "epochs": 2}},
            "holds rows with epochs 1, not 2; give the same value, or another --output",
        ),
        ({"scenes": 16}, "holds rows with train_images 8, not 16"),
        (
            {"overrides": {"model.input_hw": (64, 96), "epochs": 1}},
            r"holds rows with input_hw \[64, 64\], not \[64, 96\]",
        ),
    ):
        with pytest.raises(ConfigError, match=message):
            run((NECK,), replace(options, **changes))


@pytest.fixture
def folder(tmp_path):
    """Three splits of one image each, as YOLO keeps them."""
    root = tmp_path / "mine"
    for split in ("train", "val", "test"):
        write_image(root / "images" / split / "a.png")
        (root / "labels" / split).mkdir(parents=True)
        (root / "labels" / split / "a.txt").write_text("0 0.5 0.5 0.5 0.5\n")
    parts = "".join(f"{split}: images/{split}\n" for split in ("train", "val", "test"))
    (root / "data.yaml").write_text(f"{parts}names: [disc]\n")
    return root


def test_an_output_holds_rows_of_the_same_splits_and_names_no_folder_of_this_machine(tmp_path, folder):
    options = options_in(tmp_path / "out", data=folder)
    settings, _ = settle((NECK,), options)
    assert (settings.data, settings.split, settings.val_split) == ("mine", "train", "val")
    stored = tmp_path / "out" / "settings.json"
    assert str(tmp_path) not in stored.read_text()
    markdown = as_markdown(build_tables((), (0,), NOTHING), settings, (0,))
    assert "of 1 images (mine, split train, 1 classes) at" in markdown
    assert "measured on 1 images, split val." in markdown
    with pytest.raises(ConfigError, match="holds rows with val_split val, not test; give the same value"):
        settle((NECK,), replace(options, val_split="test"))
    with pytest.raises(ConfigError, match="holds rows with split train, not test"):
        settle((NECK,), replace(options, split="test"))


def test_settings_that_name_a_whole_path_and_no_split_are_those_of_an_earlier_version(tmp_path, folder):
    options = options_in(tmp_path / "out", data=folder)
    settle((NECK,), options)
    stored = tmp_path / "out" / "settings.json"
    now = stored.read_text()
    earlier = {name: value for name, value in json.loads(now).items() if "split" not in name}
    stored.write_text(json.dumps(earlier | {"data": str(folder)}))
    settle((NECK,), options)
    assert stored.read_text() == now
    stored.write_text(json.dumps(earlier | {"data": str(folder.with_name("other"))}))
    with pytest.raises(ConfigError, match="holds rows with data other, not mine"):
        settle((NECK,), options)


def test_from_the_command_line_a_failed_row_is_exit_code_1(monkeypatch, capsys, tmp_path):
    monkeypatch.setattr(command, "rows_of", lambda tables: (BLOCKED,) if tables == [6] else ())
    (tmp_path / BLOCKED.run).write_text("no folder")
    assert main(["ablations", "--output", str(tmp_path), "--table", "6", *TINY]) == 1
    said = capsys.readouterr().out
    assert f"failed: {BLOCKED.run}, seed 0: " in said
    assert said.endswith(f"wrote {tmp_path / 'ablations.md'}\n")
    report = (tmp_path / "ablations.md").read_text(encoding="utf-8")
    assert f"--run {tmp_path.name}/{BLOCKED.run}/seed-0: " in report, "it is given to others"
    assert str(tmp_path) not in report + (tmp_path / "ablations.json").read_text(encoding="utf-8")


def test_seeds_are_averaged_and_their_deviation_is_shown():
    def made(seed, map50_95):
        return Result(seed, 0.5, map50_95, 2_500_000, 8.0, {}, 60.0, False)

    progress = Progress(
        finished={
            (NECK.run, 0): made(0, 0.30),
            (NECK.run, 1): made(1, 0.32),
            (BACKBONE.run, 0): made(0, 0.40),
        },
        failed={(BACKBONE.run, 1): "out of memory"},
        stopped=False,
    )
    tables = build_tables((NECK, BACKBONE), (0, 1), progress)
    markdown = as_markdown(tables, SETTINGS, (0, 1))
    assert cells_of(markdown) == [
        ["row", "parameters, M", "ours", "GFLOPs, ours", "mAP50", "ours", "mAP50-95", "ours", "seeds"],
        ["neck only", "2.49", "2.50", "8.00", "", "50.0 ± 0.0", "58.2", "31.0 ± 1.4", "0, 1"],
        ["backbone only", "2.66", "2.50", "8.00", "", "50.0", "62.1", "40.0", "0"],
    ]
    assert "backbone only of table 5 (failed: out of memory)" in markdown
    (table,) = json.loads(as_json(tables, SETTINGS, (0, 1)))["tables"]
    assert (table["agreement"]["pairs"], table["agreement"]["same_order"]) == (1, 1)


@pytest.mark.parametrize("text", ["{", "[]", '{"seed": 0}'])
def test_a_result_that_is_none_says_what_to_do(tmp_path, text):
    (tmp_path / RESULT_FILE).write_text(text)
    with pytest.raises(ConfigError, match="remove it"):
        read_result(tmp_path)


def test_images_are_measured_on_or_drawn_and_never_both_ways(capsys, tmp_path, folder):
    argv = ["ablations", "--output", str(tmp_path / "out"), "--data", str(folder)]
    assert main([*argv, "--scenes", "8"]) == 1
    assert "--scenes is for generated scenes: leave --scenes or --data out" in capsys.readouterr().err
    assert main([*argv, "--val-split", ""]) == 1
    assert "ablations need validation data: give --val-split" in capsys.readouterr().err
    assert not (tmp_path / "out").exists()


def test_what_cannot_be_started_is_not_started(tmp_path, capsys):
    with pytest.raises(DatasetError, match="no such folder"):
        run(ROWS, options_in(tmp_path / "out", data=tmp_path / "gone"))
    assert list(tmp_path.iterdir()) == []
    assert main(["ablations"]) == 2
    assert "ablations needs --output FOLDER, or --list" in capsys.readouterr().err


def test_the_list_shows_rows_and_costs():
    lines = as_list([BACKBONE]).splitlines()
    (backbone,) = [line.split() for line in lines if line.startswith("backbone only")]
    run_name = "esmoe-n-backbone-e4-k2-dfl0-balance1.5"
    assert backbone[2:] == [run_name, "2,816,340", "9.37", "8.13", "2.66", "M", "62.1"]
    assert lines[-1] == "rows: 1; runs for each seed: 1 (rows that train the same model share one)"


TRAIN = """
import logging, sys
from pathlib import Path
import torch
from training.workflows import dataset_config
from training.lab.ablations import command
from training.lab.ablations.command import ablations
from training.lab.ablations.rows import rows_of
from training.workflows.train import TrainOptions
from training.data_config import ScenesConfig

torch.set_num_threads(1)
logging.basicConfig(level="INFO", stream=sys.stdout)
dataset_config.SCENES_UNSEEN = ScenesConfig(images=2, seed=1, image_hw=(64, 64))
overrides = {"model.input_hw": (64, 64), "epochs": 1}
options = TrainOptions(run_dir=Path(sys.argv[1]), overrides=overrides, scenes=8)
ablations(rows_of([5])[1:3], options)
"""


@pytest.mark.heavy
def test_killed_it_goes_on_with_the_rows_that_are_missing(tmp_path):
    argv = [sys.executable, "-c", TRAIN, tmp_path]
    child = subprocess.Popen(argv, cwd=ROOT)
    first, second = result_of(NECK, tmp_path), result_of(BACKBONE, tmp_path)
    try:
        deadline = time.monotonic() + 120
        while not first.exists() and time.monotonic() < deadline and child.poll() is None:
            time.sleep(0.005)
    finally:
        child.send_signal(signal.SIGKILL)
        child.wait()
    assert child.returncode == -signal.SIGKILL
    assert first.exists()
    assert not second.exists()
    before = first.stat().st_mtime_ns
    again = subprocess.run(argv, cwd=ROOT, capture_output=True, text=True, timeout=120, check=True)
    assert "1 of 2 runs are finished already" in again.stdout
    assert first.stat().st_mtime_ns == before
    assert second.exists()
